"""What Ray says of jobs is a hint; what it refuses is told, what it forgets is done again."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from in_process import ablate

from ablate.commands import doctor
from ablate.config.infra import Infra
from ablate.errors import UserError
from ablate.files import write_json
from ablate.launch.backends import open_backend
from ablate.launch.ray import jobs as ray
from ablate.launch.ray import submission
from ablate.launch.ray.jobs import OnRay
from ablate.launch.registry import launcher
from ablate.store.steps import Step


class FakeRay:
    """The Jobs API of a cluster without nodes: jobs stay as they are told to be.

    `refuses`: what it says to every new job; `asked`: what each job asked for; `token`: what it
    wants to be shown.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.asked: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        self.refuses = self.token = ""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                version = {"version": "4", "ray_version": "2.60.0"}
                self.answer(version if "version" in self.path else list(fake.jobs.values()))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                if self.path.endswith("/stop"):
                    number = self.path.split("/")[-2]
                    fake.stopped.append(number)
                    fake.says("STOPPED", number)
                    self.answer({"stopped": True})
                elif fake.refuses:
                    self.answer(f"Traceback\n{fake.refuses}", 500)
                else:
                    fake.asked.append(json.loads(body))
                    fake.says("PENDING", fake.asked[-1]["submission_id"])
                    self.answer({})

            def answer(self, value: Any, code: int = 200) -> None:
                if fake.token and self.headers["Authorization"] != f"Bearer {fake.token}":
                    value, code = "no token", 401
                self.send_response(code)
                self.end_headers()
                text = value if isinstance(value, str) else json.dumps(value)
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def says(self, status: str, number: str, message: str = "", error: str = "") -> None:
        """What is said of a job from now on."""
        known = {"submission_id": number, "status": status, "message": message}
        self.jobs[number] = {**known, "error_type": error or None}

    def go(self) -> None:
        """Be away."""
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeRay]:
    found = FakeRay()
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", found.address)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    for name in ("ASK", "GRACE", "LEAVE", "LATER"):
        monkeypatch.setattr(ray, name, 0.0)
    yield found
    found.go()


def chains(number: int) -> list[list[Step]]:
    return [[Step("pretrain", "one", {"n": n})] for n in range(number)]


def backend(home: Path, jobs: int | None = None, **infra: Any) -> OnRay:
    asked = Infra.model_validate({"device": "cpu", **infra})
    found = open_backend("ray", jobs, home, home / "drives" / "d", asked)
    assert isinstance(found, OnRay)
    return found


def ended(job: Any) -> Any:
    """The outcome of a job, looked at twice: the first look begins the grace."""
    return job.poll() or (time.sleep(0.01), job.poll())[1]


def test_a_job_asks_for_what_the_study_says(tmp_path: Path, cluster: FakeRay) -> None:
    told = {"cpus": 3, "memory_gb": 2, "resources": {"a100": 1}}
    here = backend(tmp_path, ray=told, devices=2, device="cuda")
    assert here.slots == 64
    assert backend(tmp_path, 3).slots == 3
    (job,) = here.start(chains(1))
    assert job
    (asked,) = cluster.asked
    assert asked.pop("entrypoint").startswith("export ABLATE_JOB=ablate-d-1; exec bash ")
    assert asked == {
        "submission_id": "ablate-d-1",
        "entrypoint_num_cpus": 6,
        "entrypoint_num_gpus": 2,
        "entrypoint_memory": 2 * 2**30,
        "entrypoint_resources": {"a100": 1.0},
    }


def test_what_lies_in_its_folder_is_for_its_user_alone(
    tmp_path: Path, cluster: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE_TOKEN", "hush hush")
    monkeypatch.setenv("SLURM_JOB_ID", "3")
    backend(tmp_path).start(chains(1))
    folder = tmp_path / "drives" / "d" / "ray-1"
    assert folder.stat().st_mode & 0o077 == 0
    script = (folder / "job.sh").read_text()
    assert "export SITE_TOKEN='hush hush'" in script
    assert "SLURM" not in script
    assert "export CUDA_VISIBLE_DEVICES=\n" in script
    assert "hush" not in json.dumps(cluster.asked)


@pytest.mark.parametrize(
    ("status", "message", "error", "outcome", "said"),
    [
        ("FAILED", "exit code 1", "JOB_ENTRYPOINT_COMMAND_ERROR", "lost", "died"),
        ("FAILED", "died", "JOB_SUPERVISOR_ACTOR_DIED", "stopped", "its node failed, or Ray on it"),
        ("FAILED", "node was low on memory", "JOB_SUPERVISOR_ACTOR_DIED", "memory", "memory_gb"),
        ("STOPPED", "", "", "lost", "was stopped"),
        ("SUCCEEDED", "", "", "lost", "ended without an answer"),
    ],
)
def test_a_job_that_ended_without_an_answer_is_told_by_rays_last_word(
    tmp_path: Path,
    cluster: FakeRay,
    status: str,
    message: str,
    error: str,
    outcome: str,
    said: str,
) -> None:
    (job,) = backend(tmp_path).start(chains(1))
    assert job
    assert job.poll() is None
    cluster.says(status, "ablate-d-1", message, error)
    (tmp_path / "drives" / "d" / "ray-1" / "printed.log").write_text("one\nno such module\n")
    found = ended(job)
    assert found.status == outcome
    assert said in found.message
    assert outcome != "lost" or found.message.endswith("no such module")
    left = launcher("ray").submissions(tmp_path / "drives" / "d").submitted()
    assert left == {"ablate-d-1": ()}  # other drivers wait for it no longer


def test_an_answer_counts_whatever_ray_says(tmp_path: Path, cluster: FakeRay) -> None:
    (job,) = backend(tmp_path).start(chains(1))
    assert job
    write_json(job.sent.answer, {"status": "done", "message": "", "step": ""})
    cluster.says("FAILED", "ablate-d-1")
    assert job.poll().status == "done"


def test_a_job_that_ray_has_forgotten_is_tried_again(tmp_path: Path, cluster: FakeRay) -> None:
    (job,) = backend(tmp_path).start(chains(1))
    cluster.jobs.clear()
    assert ended(job).status == "stopped"


def test_a_job_that_found_no_room_is_asked_for_again(tmp_path: Path, cluster: FakeRay) -> None:
    (job,) = backend(tmp_path).start(chains(1))
    assert job
    cluster.says("FAILED", "ablate-d-1", "", "JOB_SUPERVISOR_ACTOR_START_TIMEOUT")
    assert ended(job) is None
    assert [one["submission_id"] for one in cluster.asked] == ["ablate-d-1", "ablate-d-1.2"]
    (adopted,) = backend(tmp_path).adopt(tmp_path / "drives" / "d").values()
    assert adopted.sent.number == "ablate-d-1.2"


def test_while_ray_is_away_nothing_is_lost_or_submitted(tmp_path: Path, cluster: FakeRay) -> None:
    here = backend(tmp_path)
    (job,) = here.start(chains(1))
    assert job
    cluster.go()
    assert job.poll() is None
    assert here.start(chains(2)) == [None, None]
    assert here.notice == "Ray does not answer; waiting for it"
    assert not here.close()
    assert here.notice.endswith("ends ablate-d-1")


def test_a_refusal_is_an_error_where_nothing_is_at_work(tmp_path: Path, cluster: FakeRay) -> None:
    here = backend(tmp_path)
    here.start(chains(1))
    cluster.refuses = "ValueError: num_cpus is odd"
    assert here.start(chains(1)) == [None]
    other = backend(tmp_path / "other")
    with pytest.raises(UserError, match=r"^Ray refused a job: ValueError: num_cpus is odd$"):
        other.start(chains(1))
    assert not list((tmp_path / "other" / "drives" / "d").glob("ray-*"))


def test_the_next_driver_and_who_looks_find_what_was_submitted(
    tmp_path: Path, cluster: FakeRay
) -> None:
    drive, steps = tmp_path / "drives" / "d", chains(2)
    backend(tmp_path).start(steps)
    write_json(drive / "ray-2" / "outcome.json", {"status": "done"})
    found = launcher("ray").submissions(drive)
    keys = [chain[0].key for chain in steps]
    assert found.submitted() == {"ablate-d-1": [keys[0]], "ablate-d-2": ()}
    cluster.says("RUNNING", "ablate-d-2")
    known = found.ask(["ablate-d-1", "ablate-d-2", "ablate-d-3"])
    assert known
    assert {number: (one.alive, one.waits) for number, one in known.items()} == {
        "ablate-d-1": (True, True),
        "ablate-d-2": (True, False),
    }
    here = backend(tmp_path)
    assert set(here.adopt(drive)) == set(keys)
    assert here.close()
    assert cluster.stopped == ["ablate-d-1"]
    found.cancel(["ablate-d-2"])
    assert cluster.stopped[-1] == "ablate-d-2"
    cluster.go()
    assert found.ask(["ablate-d-1"]) is None


def test_a_damaged_note_of_a_job_stops_nobody(tmp_path: Path, cluster: FakeRay) -> None:
    backend(tmp_path).start(chains(2))
    (tmp_path / "drives" / "d" / "ray-1" / "job.json").write_text("{")
    assert len(submission.submissions(tmp_path / "drives" / "d")) == 1


def test_a_cluster_that_wants_a_token_is_shown_it(
    tmp_path: Path, cluster: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.token = "open sesame"
    with pytest.raises(UserError, match="no token"):
        backend(tmp_path)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "open sesame")
    assert backend(tmp_path).start(chains(1))


def test_where_no_cluster_answers_it_is_one_line(
    cluster: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.go()
    answer = ablate("run", "micro/smoke", "--backend", "ray")
    assert answer.code == 2
    assert f"ablate: no Ray cluster answers at {cluster.address}: " in answer.err
    assert "`ray start --head`" in answer.err
    (found,) = doctor.examine_jobs("ray")
    assert found.status == "problem"
    (note,) = launcher("ray").examine()
    assert note.status == "note"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("infra.ray.address=head:8265", "infra.ray.address: should be the dashboard's"),
        ("infra.ray.cpu=2", "infra.ray.cpu: unknown key; did you mean 'cpus'"),
        ("infra.nodes=2", "infra.nodes is above 1, but a job of the backend ray is on one node"),
    ],
)
def test_a_mistake_in_what_ray_is_told_is_one_line(
    cluster: FakeRay, change: str, said: str
) -> None:
    answer = ablate("run", "micro/smoke", "--backend", "ray", "--set", change)
    assert answer.code == 2
    assert said in answer.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("infra", "gpus", "on"),
    [
        ({"device": "cpu", "devices": 2}, 0, False),
        ({"devices": 2}, 2, True),
        ({"devices": 2, "ray": {"gpus": 0}}, 0, False),
        ({"device": "cuda", "ray": {"gpus": 0, "resources": {"a100": 1}}}, 0, True),
        ({"device": "cuda", "devices": 2, "ray": {"gpus": 1}}, 1, True),
    ],
)
def test_gpus_are_asked_for_unless_it_is_said_otherwise(
    infra: dict[str, Any], gpus: int, on: bool
) -> None:
    asked = Infra.model_validate(infra)
    assert (submission.gpus(asked), submission.on_gpus(asked)) == (gpus, on)


def test_a_driver_asks_for_little(tmp_path: Path, cluster: FakeRay) -> None:
    infra = Infra.model_validate(
        {"devices": 4, "ray": {"cpus": 8, "memory_gb": 4, "resources": {"a100": 1}}}
    )
    assert submission.asks(submission.driver_infra(infra)) == {"entrypoint_num_cpus": 1}
    said = launcher("ray").requests(infra, ["finetune", "driver"], None)
    assert "ray job submit for finetune:\n    --entrypoint-num-cpus=32\n" in said
    assert "ray job submit for driver:\n    --entrypoint-num-cpus=1\n    -- " in said
