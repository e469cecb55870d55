"""An edit of what decides a result renews the steps that it reaches, and no other."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pytest
from in_process import ablate
from PIL import Image

from ablate import design
from ablate.catalog import benchmark_sets as benchmarks
from ablate.catalog import encoders as registry
from ablate.catalog import plugins, suites
from ablate.config import study
from ablate.errors import UserError
from ablate.reports import story
from ablate.reports.load import load
from ablate.search.explore import rounds_so_far
from ablate.store import results, steps
from ablate.store.artifacts import NOBODY, Store
from ablate.store.record import record
from ablate.store.steps import Step, ancestors, steps_for
from ablate.worker.context import RunContext
from ablate.worker.run import run_chain

GUEST = {
    "guest/__init__.py": "raise RuntimeError('this code is not to run')\n",
    "guest/fusion.py": (
        '"""Only the base, scaled."""\n'
        "from fusion_zoo import Fusion, Segment\n"
        "class Scaled(Fusion):\n"
        "    def __init__(self, shapes, grid, *, by: float = 1.0):\n"
        "        super().__init__(shapes, grid)\n"
        "    def forward(self, maps, base=None):\n"
        "        from guest.maths import scale\n"
        "        return [scale(maps[0].tokens())]\n"
    ),
    "guest/maths.py": "from . import deeper\ndef scale(x): return x * deeper.BY\n",
    "guest/deeper.py": "BY = 2\n",
    "guest/family.py": "from .layers import Layer\nclass Flat: ...\n",
    "guest/layers/__init__.py": "from .one import Layer\n",
    "guest/layers/one.py": "class Layer: ...\n",
    "guest/unused.py": "",
    "guest/table.json": "[1]",
    "guest_specs.py": (
        "from dataclasses import replace\n"
        "from ablate.catalog import micro_encoders as micro\n"
        "SPECS = [replace(micro.SPECS[1], name='guest-flat', family='flat')]\n"
    ),
    "guest-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: guest\nVersion: 1\n",
    "guest-1.dist-info/top_level.txt": "guest\nguest_specs\n",
    "guest-1.dist-info/entry_points.txt": (
        "[fusion_zoo]\nscaled = guest.fusion:Scaled\n"
        "[ablate.encoders]\nguest = guest_specs:SPECS\n"
        "[ablate.encoder_families]\nflat = guest.family:Flat\n"
    ),
}
LMMS_EVAL = {
    "lmms_eval/__init__.py": "",
    "lmms_eval/models/llava.py": "",
    "lmms_eval/api/metrics.py": "",
    "lmms_eval/tasks/_task_utils/shared.py": "def clean(text): return text\n",
    **{
        f"lmms_eval/tasks/{task}/{name}": text
        for task in ("pope", "chartqa")
        for name, text in {
            f"{task}.yaml": (
                f"include: _base\ntask: {task}\nprocess_results: !function utils.score\n"
            ),
            "_base": f"dataset_path: org/{task}\ntest_split: test\n",
            "utils.py": (
                "from lmms_eval.tasks._task_utils.shared import clean\n"
                "from lmms_eval.api import metrics\n"
                "def score(doc, said): return {'f1': clean(said[0]) == doc['answer']}\n"
            ),
        }.items()
    },
}
STUDY = """
extends: micro/rounds
suite: suite.yaml
explore:
  kind: arms
  axis: code
  arms:
    - {name: plain, set: {encoders: [clip-micro]}}
    - {name: guest, set: {encoders: [clip-micro, guest-flat], fusion.name: scaled}}
"""
SUITE = "tasks: [{task: pope, file: pope/pope, metric: f1, questions: 2}]"
CACHES = (
    *(registry._known, design.encoder_spec, suites.resolve, benchmarks._yaml),
    *(steps._code_of, steps._model, steps._of_expert, steps._suite),
)


def forget() -> None:
    """As a new process does."""
    for made in CACHES:
        made.cache_clear()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_home: Path) -> Iterator[Path]:
    """A folder with a package of a guest, an lmms-eval, a benchmark's set, and a study of them."""
    for name, text in {**GUEST, **LMMS_EVAL, "study.yaml": STUDY, "suite.yaml": SUITE}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in [name for name in sys.modules if name.partition(".")[0] == "lmms_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path / "data"))
    forget()
    save(tmp_path)
    yield tmp_path
    forget()


def save(place: Path, answer: str = "yes", colour: int = 7) -> None:
    """The set of a benchmark: two questions about two pictures."""
    rows = [{"question": f"{n}?", "answer": word} for n, word in enumerate(["no", answer])]
    for n, row in enumerate(rows):
        row["image"] = Image.new("RGB", (2, 2), (n, colour, 0))  # type: ignore[assignment]
    folder = place / "data" / "benchmarks" / "pope"
    shutil.rmtree(folder, ignore_errors=True)
    datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)}).save_to_disk(str(folder))


def chains(place: Path) -> dict[str, list[Step]]:
    """The steps of both candidates as a new process has them."""
    forget()
    loaded = study.load_study(str(place / "study.yaml"))
    lookup = results.StoredResults(Store(place / "nowhere"), loaded)
    [turn] = rounds_so_far(loaded, lookup)
    return {one.name: ancestors(steps_for(one, loaded)[-1:]) for one in turn.candidates}


def keys(place: Path) -> dict[str, str]:
    found = chains(place).items()
    return {
        f"{name}: {step.slug if step.kind == 'prealign' else step.kind}": step.key
        for name, chain in found
        for step in chain
    }


def write(name: str, text: str, place: Path) -> None:
    (place / name).write_text(text)


def append(name: str, place: Path) -> None:
    with (place / name).open("a") as file:
        file.write("\n# edited\n")


def sly(place: Path) -> None:
    """Another text of the same length, with the time of change set back."""
    path = place / "guest" / "deeper.py"
    before = path.stat()
    path.write_text("BY = 3\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


TRAINED = {"guest: pretrain", "guest: finetune", "guest: evaluate"}
FAMILY = {"guest: guest-flat@128", *TRAINED}
SCORED = {"plain: evaluate", "guest: evaluate"}
EDITS: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "a fusion's forward": (partial(append, "guest/fusion.py"), TRAINED),
    "what it imports": (partial(append, "guest/maths.py"), TRAINED),
    "what that imports": (partial(append, "guest/deeper.py"), TRAINED),
    "the same, slyly": (sly, TRAINED),
    "an encoder family": (partial(append, "guest/family.py"), FAMILY),
    "a package it imports": (partial(append, "guest/layers/__init__.py"), FAMILY),
    "a module in that": (partial(append, "guest/layers/one.py"), FAMILY),
    "what runs before both": (partial(append, "guest/__init__.py"), FAMILY),
    "a file that is no code": (partial(append, "guest/table.json"), FAMILY),
    "the version": (
        partial(write, "guest-1.dist-info/METADATA", "Name: guest\nVersion: 2\n"),
        FAMILY,
    ),
    "a module that neither imports": (partial(append, "guest/unused.py"), set()),
    "the times of files": (lambda place: (place / "guest/fusion.py").touch(), set()),
    "an answer": (partial(save, answer="maybe"), SCORED),
    "a pixel": (partial(save, colour=8), SCORED),
    "nothing, saved anew": (save, set()),
    "a task file": (partial(append, "lmms_eval/tasks/pope/pope.yaml"), SCORED),
    "what that includes": (partial(append, "lmms_eval/tasks/pope/_base"), SCORED),
    "a metric": (partial(append, "lmms_eval/tasks/pope/utils.py"), SCORED),
    "what a metric imports": (partial(append, "lmms_eval/tasks/_task_utils/shared.py"), SCORED),
    "lmms-eval's own metrics": (partial(append, "lmms_eval/api/metrics.py"), SCORED),
    "a task of another suite": (partial(append, "lmms_eval/tasks/chartqa/utils.py"), set()),
    "a model of lmms-eval": (partial(append, "lmms_eval/models/llava.py"), set()),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_renews_the_steps_it_reaches_and_no_other(place: Path, edit: str) -> None:
    change, renewed = EDITS[edit]
    before = keys(place)
    assert keys(place) == before
    change(place)
    after = keys(place)
    assert {name for name in after if after[name] != before[name]} == renewed


def test_a_revision_of_ours_renews_what_uses_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys(place)
    monkeypatch.setattr(plugins.families, "revision", lambda family: 1 + (family == "clip"))
    after = keys(place)
    same = {name for name in after if after[name] == before[name]}
    assert same == {"guest: guest-flat@128"}


def test_code_that_imports_by_names_made_while_it_runs_counts_with_its_whole_package(
    place: Path,
) -> None:
    write("guest/deeper.py", "import importlib\nBY = 2\n", place)
    before = keys(place)
    append("guest/unused.py", place)
    after = keys(place)
    assert {name for name in after if after[name] != before[name]} == TRAINED


def test_a_benchmark_that_is_not_here_is_planned_with_under_a_key_of_its_own(place: Path) -> None:
    before = keys(place)
    shutil.rmtree(place / "data")
    planned = keys(place)
    assert {name for name in before if planned[name] != before[name]} == SCORED
    former = chains(place)["plain"][-1].former
    assert former.key not in {*before.values(), *planned.values()}


def test_a_spec_names_package_version_and_source(place: Path) -> None:
    step = chains(place)["guest"][-2]
    assert step.spec["plugins"].keys() == {"fusion scaled", "encoder family flat"}
    said = step.spec["plugins"]["fusion scaled"]
    assert (said["package"], said["version"], len(said["sha256"])) == ("guest", "1", 64)
    assert record(chains(place)["guest"][-1], "done")["versions"]["guest"] == "1"
    assert "plugins" not in chains(place)["plain"][-2].spec


def test_code_that_was_edited_since_it_was_planned_does_not_run(place: Path) -> None:
    chain = [step for step in chains(place)["guest"] if step.kind == "pretrain"]
    [step] = [Step(one.kind, one.slug, one.spec) for one in chain]
    plugins.require_same([step.spec])
    append("guest/deeper.py", place)
    executors: dict[str, Any] = {"pretrain": lambda ctx: pytest.fail("it ran")}
    outcome = run_chain(place / "home", [step], RunContext(), executors)
    assert outcome.status == "failed"
    assert "fusion scaled of guest 1 has changed since the study was planned" in outcome.message


def test_a_set_that_was_edited_since_it_was_planned_is_not_asked(place: Path) -> None:
    identity = chains(place)["plain"][-1].spec["suite"]
    suites.require_same(json.loads(json.dumps(identity)))
    save(place, answer="perhaps")
    with pytest.raises(UserError, match="suite suite: not the same questions of pope as when"):
        suites.require_same(identity)


def commit(store: Store, step: Step, **result: Any) -> None:
    store.attempt(step, NOBODY).mkdir(parents=True)
    more = {"seconds": 1.0, "device_seconds": 1.0, "restarts": 0}
    store.commit(step, record(step, "done", result=result, **more))


def test_scores_of_an_older_version_are_read_and_told_apart(place: Path, own_home: Path) -> None:
    store, words = Store(own_home), str(place / "study.yaml")
    for step in chains(place)["plain"]:
        scores = {"composite": 41.25, "scores": {}} if step.kind == "evaluate" else {}
        commit(store, step.former, **scores)
    assert [store.record(step) is not None for step in chains(place)["plain"]] == [True] * 3 + [
        False
    ]
    for command in ("status", "plan", "table"):
        forget()
        code, out, err = ablate(command, words)
        assert code == 0, err
        assert "Made by an older version of ablate" in out + err
        assert "plain 41.2." in out + err
        assert "guest 41.2" not in out + err
    forget()
    [said, *_] = story.tell(load(words)).missing
    assert said.startswith("Made by an older version of ablate")
    forget()
    assert json.loads(ablate("status", words, "--json")[1])["made_by_an_older_version"] == {
        "plain": 41.25
    }
