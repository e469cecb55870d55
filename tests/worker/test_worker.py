"""A worker does a chain of steps, each once, and says how it went."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import core_fakes
import pytest

from ablate.errors import UserError
from ablate.store.artifacts import Store
from ablate.store.lease import Watch
from ablate.store.record import record
from ablate.store.steps import Step
from ablate.worker.context import RunContext, StepContext
from ablate.worker.outcome import Outcome
from ablate.worker.run import TOLD_TO_GO, LeaseLostError, run_chain

FIRST = Step("pretrain", "first", {"n": 1})
SECOND = Step("finetune", "second", {"n": 2}, {"pretrain": FIRST})
CHAIN = [FIRST, SECOND]


def write(ctx: StepContext) -> dict[str, Any]:
    core_fakes.note(ctx, "begin")
    (ctx.work / "n").write_text(str(ctx.spec["n"]))
    print("to standard output")
    return {"parents": sorted(ctx.parents)}


def run(home: Path, execute: Callable[[StepContext], dict[str, Any]] = write) -> Outcome:
    return run_chain(home, CHAIN, RunContext(drive="d"), {"pretrain": write, "finetune": execute})


def fail_with(error: BaseException) -> Callable[[StepContext], dict[str, Any]]:
    def execute(ctx: StepContext) -> dict[str, Any]:
        (ctx.work / "half").write_text("half")
        raise error

    return execute


def test_a_chain_is_done_in_order_and_only_once(tmp_path: Path) -> None:
    assert run(tmp_path).status == "done"
    assert run(tmp_path).status == "done"
    begun = core_fakes.executed(tmp_path, "begin")
    assert [line.split()[0] for line in begun] == ["pretrain", "finetune"]
    found = Store(tmp_path).record(SECOND)
    assert found
    assert found["result"] == {"parents": ["pretrain"]}


def test_a_record_says_where_with_what_and_at_what_cost(tmp_path: Path) -> None:
    run(tmp_path)
    found = Store(tmp_path).record(FIRST)
    assert found
    assert found["key"] == FIRST.key
    assert found["started"] <= found["ended"]
    assert found["versions"]["torch"]
    assert (found["restarts"], found["error"], found["device"]) == (0, None, "cpu")
    assert found["peak_memory_mb"] > 1
    assert found["seconds"] <= found["device_seconds"]


def test_steps_of_one_key_are_done_from_one_spec_its_order_included(tmp_path: Path) -> None:
    seen = []

    def look(ctx: StepContext) -> dict[str, Any]:
        seen.append(list(ctx.spec["train"]))
        return {}

    for rates in ({"projector": 2e-3, "llm": 1e-3}, {"llm": 1e-3, "projector": 2e-3}):
        step = Step("pretrain", "one", {"train": rates})
        run_chain(tmp_path / str(len(seen)), [step], RunContext(), {"pretrain": look})
    assert seen == [["llm", "projector"]] * 2


def test_a_failure_ends_the_chain_and_keeps_its_reason(tmp_path: Path) -> None:
    outcome = run(tmp_path, fail_with(UserError("row 3 is bad")))
    assert (outcome.status, outcome.message, outcome.step) == ("failed", "row 3 is bad", SECOND.key)
    store = Store(tmp_path)
    failure = store.failure(SECOND)
    assert failure
    assert failure["error"] == {"type": "UserError", "message": "row 3 is bad"}
    assert failure["drive"] == "d"
    assert store.record(FIRST)
    assert not store.record(SECOND)


def test_the_next_attempt_finds_the_work_folder_and_counts_as_a_restart(tmp_path: Path) -> None:
    run(tmp_path, fail_with(ValueError("first")))

    def resume(ctx: StepContext) -> dict[str, Any]:
        return {"found": (ctx.work / "half").read_text()}

    assert run(tmp_path, resume).status == "done"
    found = Store(tmp_path).record(SECOND)
    assert found
    assert (found["result"], found["restarts"]) == ({"found": "half"}, 1)


def test_what_a_step_prints_and_its_traceback_are_in_the_log_of_the_attempt(tmp_path: Path) -> None:
    run(tmp_path, fail_with(ValueError("no such luck")))
    run(tmp_path)
    logs = Store(tmp_path).logs(SECOND)
    assert "ValueError: no such luck" in (logs / "attempt-1.log").read_text()
    assert "to standard output" in (logs / "attempt-2.log").read_text()


def test_a_folder_in_the_place_of_a_log_makes_room(tmp_path: Path) -> None:
    log = Store(tmp_path).logs(FIRST) / "attempt-1.log"
    log.mkdir(parents=True)
    assert run(tmp_path).status == "done"
    assert log.read_text().startswith("to standard output")


def test_what_other_programs_print_is_in_the_log_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def execute(ctx: StepContext) -> dict[str, Any]:
        os.system("echo from below; echo and above >&2")
        return {}

    run_chain(tmp_path, [FIRST], RunContext(whole_process=True), {"pretrain": execute})
    log = (Store(tmp_path).logs(FIRST) / "attempt-1.log").read_text()
    assert log == "from below\nand above\n"
    print("back again")
    assert "back again" in capfd.readouterr().out


def test_what_fails_while_the_process_is_being_ended_is_stopped_not_failed(tmp_path: Path) -> None:
    def execute(ctx: StepContext) -> dict[str, Any]:
        TOLD_TO_GO.set()
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated.")

    try:
        outcome = run(tmp_path, execute)
    finally:
        TOLD_TO_GO.clear()
    assert (outcome.status, outcome.step) == ("stopped", SECOND.key)
    assert Store(tmp_path).failure(SECOND) is None
    assert run(tmp_path).status == "done"


def test_a_gpu_that_is_full_is_a_failure_with_the_settings_to_change(tmp_path: Path) -> None:
    assert run(tmp_path, fail_with(RuntimeError("CUDA out of memory."))).status == "failed"
    failure = Store(tmp_path).failure(SECOND)
    assert failure
    assert "set infra.micro_batch_size lower (now all)" in failure["error"]["message"]


def test_a_step_another_worker_holds_is_left_to_it(tmp_path: Path) -> None:
    lease = Watch().take(Store(tmp_path).leases(FIRST))
    assert lease
    assert run(tmp_path).status == "busy"
    assert core_fakes.executed(tmp_path, "begin") == []
    lease.release()
    assert run(tmp_path).status == "done"


def test_a_worker_taken_for_dead_leaves_the_step_to_its_successor(tmp_path: Path) -> None:
    def execute(ctx: StepContext) -> dict[str, Any]:
        (ctx._lease.folder / "2.json").write_bytes(ctx._lease.text())
        return {}

    assert run(tmp_path, execute).status == "busy"
    assert Store(tmp_path).record(SECOND) is None
    assert Store(tmp_path).failure(SECOND) is None


def test_progress_ends_a_worker_that_lost_its_lease(tmp_path: Path) -> None:
    def execute(ctx: StepContext) -> dict[str, Any]:
        ctx._lease.lost = True
        with pytest.raises(LeaseLostError):
            ctx.progress(1, 2)
        raise LeaseLostError

    assert run(tmp_path, execute).status == "busy"


def wrapped(end: BaseException) -> Exception:
    """As it comes out of a class that was being made: of `__set_name__`, in Python 3.11."""
    error = RuntimeError("Error calling __set_name__ on 'cached_property' instance 'rows'")
    error.__cause__ = end
    return error


@pytest.mark.parametrize("wrap", [lambda end: end, wrapped])
def test_a_step_is_given_back_when_it_is_interrupted(
    tmp_path: Path, wrap: Callable[[BaseException], BaseException]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, fail_with(wrap(KeyboardInterrupt())))
    store = Store(tmp_path)
    assert store.failure(SECOND) is None
    assert store.watch.held(store.leases(SECOND)) is None
    assert run(tmp_path).status == "done"


def test_a_damaged_parent_is_set_aside_and_named(tmp_path: Path) -> None:
    run_chain(tmp_path, [FIRST], RunContext(), {"pretrain": write})
    (Store(tmp_path).folder(FIRST) / "n").write_text("2")
    outcome = run(tmp_path)
    assert outcome.status == "bad"
    assert "the checksum of n does not hold" in outcome.message
    assert run(tmp_path).status == "done"


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "error", [FULL, RuntimeError("I/O error: No space left on device (os error 28)")]
)
def test_a_full_disk_is_no_failure_of_the_step(tmp_path: Path, error: Exception) -> None:
    assert run(tmp_path, fail_with(error)).status == "full"
    assert Store(tmp_path).failure(SECOND) is None
    assert run(tmp_path).status == "done"


def test_a_disk_that_fills_up_during_the_commit_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise FULL

    monkeypatch.setattr(os, "fsync", full)
    assert run(tmp_path).status == "full"
    assert Store(tmp_path).record(FIRST) is None
    monkeypatch.undo()
    assert run(tmp_path).status == "done"


def test_a_resumed_log_drops_what_comes_again(tmp_path: Path) -> None:
    def execute(ctx: StepContext) -> dict[str, Any]:
        for step in (1, 2, 3):
            ctx.log({"step": step})
        with (ctx.work / "metrics.jsonl").open("a") as file:
            file.write('{"step": 4, "lo')  # killed in the middle of a row
        ctx.truncate_log(2)
        ctx.log({"step": 3, "again": True})
        return {}

    run(tmp_path, execute)
    log = Store(tmp_path).folder(SECOND) / "metrics.jsonl"
    assert log.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 3, "again": true}\n'


def test_a_log_that_cannot_be_written_anew_keeps_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill on the way, or on a full disk."""

    def full(path: Path, *content: Any, **how: Any) -> int:
        path.open("w").close()
        raise FULL

    def execute(ctx: StepContext) -> dict[str, Any]:
        for step in (1, 2, 3):
            ctx.log({"step": step})
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_text", full)
            patch.setattr(Path, "write_bytes", full)
            with pytest.raises(OSError, match="No space"):
                ctx.truncate_log(2)
        return {"rows": ctx.logged()}

    run(tmp_path, execute)
    record = Store(tmp_path).record(SECOND)
    assert record["result"]["rows"] == [{"step": 1}, {"step": 2}, {"step": 3}]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path += sys.argv[2:4]
import test_worker
from ablate.store.artifacts import Store

def die(*_): os.kill(os.getpid(), signal.SIGKILL)
setattr(*{"before": (Store, "commit", die), "after": (Store, "_publish", die)}[sys.argv[4]])
test_worker.run(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_worker_killed_at_the_commit_costs_at_most_its_step(tmp_path: Path, moment: str) -> None:
    folders = [str(Path(file).parent) for file in (__file__, core_fakes.__file__)]
    command = [sys.executable, "-c", KILLED, str(tmp_path), *folders, moment]
    assert subprocess.run(command, timeout=60).returncode == -signal.SIGKILL
    assert Store(tmp_path).record(FIRST) is None
    assert run(tmp_path).status == "done"
    begun = [line.split()[0] for line in core_fakes.executed(tmp_path, "begin")]
    again = ["pretrain"] if moment == "before" else []  # after it was complete: only moved in
    assert begun == ["pretrain", *again, "finetune"]


def test_a_record_that_came_in_meanwhile_is_not_overwritten_by_a_failure(tmp_path: Path) -> None:
    def execute(ctx: StepContext) -> dict[str, Any]:
        store = Store(tmp_path)
        store.attempt(SECOND, 0).mkdir(parents=True)
        store.commit(SECOND, record(SECOND, "done", result={"by": "another"}))
        raise FileNotFoundError("the work folder is gone")

    assert run(tmp_path, execute).status == "done"
    assert Store(tmp_path).failure(SECOND) is None
