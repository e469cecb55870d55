"""A metric is one file, of ours or of another package; a benchmark is a line of a suite."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
from benchmark_toys import picture
from doc_examples import EXAMPLES
from lmms_eval.api.model import lmms
from overlay import overlay, run

from ablate.catalog import benchmark_sets as benchmarks
from ablate.catalog import metric_readers, suites
from ablate.errors import UserError
from ablate.evaluate import score
from ablate.evaluate.metrics import MetricReader, reader
from ablate.evaluate.serving import adapter as serving
from ablate.preflight.scorers import check_scorers

FIRST_WORD = EXAMPLES["ablate/evaluate/metrics/first_word.py"]
GUEST = {
    "guest/__init__.py": "raise RuntimeError('naming it is not to run it')\n",
    "guest_metrics.py": FIRST_WORD,
    "guest/tasks/signs.yaml": (
        "task: signs\ndataset_path: guest/signs\ntest_split: test\noutput_type: generate_until\n"
        "doc_to_visual: !function helpers.pictures\ndoc_to_text: question\ndoc_to_target: answer\n"
        "process_results: !function helpers.nothing\n"
        "metric_list:\n  - {metric: asked, aggregation: mean, higher_is_better: true}\n"
    ),
    "guest/tasks/helpers.py": (
        "def pictures(doc): return [doc['image']]\ndef nothing(doc, said): return {'asked': 1.0}\n"
    ),
    "guest-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: guest\nVersion: 1\n",
    "guest-1.dist-info/top_level.txt": "guest\nguest_metrics\n",
    "guest-1.dist-info/entry_points.txt": (
        "[ablate.metrics]\nfirst_word = guest_metrics:READER\nodd = guest_metrics:scores\n"
    ),
}
ANSWERS = ("stop", "give way", "no entry", "one way")


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a package of a guest, and the set of its benchmark."""
    for name, text in GUEST.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path / "data"))
    rows = [
        {"question": f"Which sign, {n}?", "answer": text, "image": picture("signs", n)}
        for n, text in enumerate(ANSWERS)
    ]
    split = datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)})
    split.save_to_disk(str(tmp_path / "data" / "benchmarks" / "signs"))
    _forget()
    yield tmp_path
    _forget()


def _forget() -> None:
    """As a new process does, import the guest anew."""
    for name in [name for name in sys.modules if name.startswith("guest")]:
        del sys.modules[name]


def signs(metric: str = "first_word", **more: Any) -> suites.Suite:
    """What a line of YAML names: the guest's benchmark, by its own metric."""
    line = {"task": "signs", "file": "guest:tasks/signs", "metric": metric, "questions": 4, **more}
    return suites.Suite.model_validate({"name": "theirs", "tasks": [line]})


class Says(lmms):
    """Gives these answers, in the order of the questions."""

    is_simple = True
    batch_size = 4
    generated_by = ""

    def __init__(self, said: tuple[str, ...]) -> None:
        super().__init__()
        self.said = said
        self.named: dict[tuple[str, int], list[list[bool]]] = {}

    def generate_until(self, requests: list[Any]) -> list[str]:
        return [self.said[request.args[3]] for request in requests]

    def clean(self) -> None: ...

    def loglikelihood(self, requests: list[Any]) -> Any: ...

    def generate_until_multi_round(self, requests: list[Any]) -> Any: ...


@pytest.mark.parametrize("metric", metric_readers.READERS.names())
def test_every_metric_says_what_it_is_and_has_a_reader(metric: str) -> None:
    entry = metric_readers.find(metric)
    assert entry
    assert len(metric_readers.READERS.describe(metric)) > 20
    assert isinstance(reader(metric), MetricReader)
    assert reader(metric).share([]) >= 0
    assert 0 < reader(metric).rounding < 1e-3


def test_a_metric_of_the_answers_themselves_tells_right_from_empty(guest: Path) -> None:
    samples = [
        {"doc": {"answer": "two words"}, "target": "two words", "filtered_resps": [said]}
        for said in ("two words", "")
    ]
    theirs = [*{*metric_readers.READERS.names()} - {"odd"}]
    readers = [found for name in theirs if (found := reader(name)).of_samples]
    assert readers
    for found in readers:
        assert [score for score, _ in found.scores(samples)] == [1.0, 0.0]


def test_a_metric_without_a_reader_is_as_lmms_eval_gives_it() -> None:
    assert metric_readers.find("exact_match") is None
    assert reader("exact_match,none").scores([1, {"score": 0.5, "weight": 2}]) == [
        (1.0, 1.0),
        (0.5, 2.0),
    ]


def test_another_package_s_benchmark_is_scored_by_its_metric(
    guest: Path, step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ("stop", "give in", "entry", "")
    monkeypatch.setattr(serving, "AblateLMM", lambda *args, **options: Says(said))
    trained = SimpleNamespace(outputs=(), drawers=(), own_canvas=None)
    monkeypatch.setattr(serving.Answerer, "load", lambda folder: trained)
    ctx = step()
    ctx.spec["suite"] = signs().identity()
    result = score.evaluate(ctx)
    assert result["scores"]["signs"] == {"metric": "first_word", "value": 50.0, "n": 4, "unread": 1}
    rows = [json.loads(line) for line in (ctx.work / "answers.jsonl").read_text().splitlines()]
    assert [(row["truth"], row["answer"], row["score"]) for row in rows] == [
        ("stop", "stop", 1.0),
        ("give way", "give in", 1.0),
        ("no entry", "entry", 0.0),
        ("one way", "", 0.0),
    ]


def test_its_code_is_part_of_what_is_compared(guest: Path) -> None:
    before = signs().identity()
    assert before["metrics"]["first_word"]["package"] == "guest"
    assert "metrics" not in signs("asked").identity()
    for name in ("guest_metrics.py", "guest/tasks/helpers.py"):
        with (guest / name).open("a") as file:
            file.write("\n# edited\n")
        after = signs().identity()
        part = "metrics" if name == "guest_metrics.py" else "scorers"
        assert {key for key in after if after[key] != before[key]} == {part}
        with pytest.raises(UserError, match="not the same"):
            suites.require_same(before)
        before = after


def test_the_preflight_asks_it_about_right_and_empty_answers(guest: Path, tmp_path: Path) -> None:
    def problems(suite: suites.Suite) -> str:
        spec = {"suite": json.loads(json.dumps(suite.identity()))}
        work = tmp_path / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        ctx: Any = SimpleNamespace(spec=spec, work=work, home=tmp_path)
        return "\n".join(map(str, check_scorers(ctx)))

    assert problems(signs()) == ""
    assert "metric 'odd' of guest 1 cannot be loaded: TypeError: " in problems(signs("odd"))
    assert "is no MetricReader" in problems(signs("odd"))
    wrong = FIRST_WORD.replace("float(answer[:1] == right[:1])", "2.0")
    (guest / "guest_metrics.py").write_text(wrong)
    _forget()
    assert "the score of an answer is 2.0, not from 0 to 1" in problems(signs())


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("gest:tasks/signs", "there is no package gest, which `file` names"),
        ("guest:tasks/sings", "guest has no task file tasks/sings.yaml"),
        ("signs/signs", "this version of lmms-eval has no task file signs/signs.yaml"),
    ],
)
def test_a_task_file_that_is_not_there_is_one_line(guest: Path, file: str, says: str) -> None:
    [task] = signs(file=file).tasks
    with pytest.raises(UserError, match=says):
        benchmarks.hub(task)


def test_a_file_alone_adds_a_metric(tmp_path: Path, own_home: Path) -> None:
    added = {"ablate/evaluate/metrics/first_word.py": FIRST_WORD}
    site = overlay(tmp_path / "site", added)
    rows = json.loads(run(own_home, site, "list", "metrics", "--json").stdout)
    [mine] = [row for row in rows if row["metric"] == "first_word"]
    assert mine["description"] == "The first word of the answer is the first word of the truth."
