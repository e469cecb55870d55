"""What holds of every kind of step, ours and other packages'."""

import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kind_toys
import pytest
import torch
from in_process import ablate
from packages import shown
from safetensors.torch import load_file

from ablate.catalog import plugins, step_kinds
from ablate.config.infra import Infra
from ablate.config.study import load_study
from ablate.driver.scheduler import drive
from ablate.errors import UserError
from ablate.preflight import checks as preflight_checks
from ablate.reports import fairness
from ablate.search.explore import rounds_so_far
from ablate.store import steps
from ablate.store.artifacts import Store
from ablate.store.results import StoredResults
from ablate.store.steps import Step, ancestors, steps_for
from ablate.worker.run import load_executor

DOCUMENTED = "half-way tuning"


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package of the documentation, installed; its folder."""
    kind_toys.install(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    forget()
    yield tmp_path / "site" / "my_package"
    forget()


def forget() -> None:
    kind_toys.forget()
    steps._code_of.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def chain() -> list[Step]:
    study = load_study("micro/smoke", kind_toys.OVERRIDES)
    [turn] = rounds_so_far(study, StoredResults(Store(Path("nowhere")), study))
    return steps_for(turn.candidates[0], study)


@pytest.mark.parametrize("name", step_kinds.names())
def test_a_kind_keeps_what_is_promised_of_it(name: str) -> None:
    kind = step_kinds.find(name)
    assert kind.name == name
    assert re.fullmatch(r"[a-z]\w*", name)
    assert kind.title
    assert kind.schema >= 1
    assert re.fullmatch(r"#[0-9a-f]{6}", kind.colour)
    assert list(inspect.signature(load_executor(kind.executor)).parameters) == ["ctx"]
    assert Infra.model_validate({"kinds": {name: {"devices": 3}}}).of(name).devices == 3
    assert kind.trains or not (kind.per_expert or kind.keeps_all)
    assert kind.text > 0


def test_stages_of_ours_have_a_colour_each() -> None:
    shown = [kind for kind in step_kinds.OURS if kind.trains or kind.name == step_kinds.EVALUATE]
    assert len({kind.colour for kind in shown}) == len(shown)


def test_every_kind_is_listed(outside: Path) -> None:
    rows = json.loads(ablate("list", "kinds", "--json").out)
    assert [row["kind"] for row in rows] == step_kinds.names()
    assert rows[-1]["title"] == DOCUMENTED
    assert DOCUMENTED in ablate("list", "kinds").out


def test_an_executor_that_is_not_there_is_told_before_anything_is_trained(outside: Path) -> None:
    text = (outside / "halfway.py").read_text()
    (outside / "halfway.py").write_text(text.replace("def train_half_way", "def train_halfway"))
    spec = {"kinds": ["finetune", "halfway", "evaluate"]}
    context: Any = SimpleNamespace(spec=spec)
    [problem] = preflight_checks._executors(context)
    assert "kind of step 'halfway'" in str(problem)
    assert "has no attribute 'train_half_way'" in str(problem)


def test_the_documented_stages_stand_where_it_says(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(shown(kind_toys.PAGE, "yaml"))
    recipe = load_study(str(tmp_path / "study.yaml")).base.recipe
    assert [(name, recipe.kind(name)) for name in recipe.stages()] == [
        ("prealign", "prealign"),
        ("pretrain", "pretrain"),
        ("second_pretrain", "pretrain"),
        ("finetune", "finetune"),
        ("last", "finetune"),
    ]


def test_an_unknown_kind_is_named_with_the_nearest(outside: Path) -> None:
    with pytest.raises(UserError, match="no kind of step 'halfwy'; did you mean 'halfway'"):
        step_kinds.find("halfwy")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (
            "KIND = 1 / 0",
            "cannot be loaded: ZeroDivisionError: division by zero \\(.*halfway.py:1\\); mend that",
        ),
        ("KIND = 1", "cannot be loaded: TypeError: 1 is no StepKind of that name"),
    ],
)
def test_a_kind_that_cannot_be_used_is_one_line(outside: Path, source: str, says: str) -> None:
    (outside / "halfway.py").write_text(source)
    with pytest.raises(UserError, match=f"kind of step 'halfway' of my-package 0.1 {says}"):
        step_kinds.find("halfway")


def test_the_source_of_a_kind_from_outside_is_in_the_keys_of_its_steps(outside: Path) -> None:
    before = chain()
    stage = before[-2]
    assert (stage.kind, stage.name) == ("halfway", "halfway")
    said = stage.spec["plugins"]["step kind halfway"]
    assert (said["package"], said["version"], len(said["sha256"])) == ("my-package", "0.1", 64)
    assert "plugins" not in before[-3].spec
    with (outside / "halfway.py").open("a") as file:
        file.write("\n# edited\n")
    with pytest.raises(UserError, match=r"step kind halfway of my-package 0\.1 has changed since"):
        plugins.require_same([stage.spec])
    forget()
    after = chain()
    same = [a.key == b.key for a, b in zip(before, after, strict=True)]
    assert same == [True, True, False, False]


def test_an_executor_in_another_file_of_its_package_counts_alike(outside: Path) -> None:
    text = (outside / "halfway.py").read_text()
    (outside / "halfway.py").write_text(text.replace(":train_half", "_way:train_half"))
    (outside / "halfway_way.py").write_text(text)
    forget()
    before = chain()[-2].key
    (outside / "halfway_way.py").write_text(f"{text}# edited\n")
    forget()
    assert chain()[-2].key != before


def test_the_documented_kind_runs_from_its_entry_point_to_the_report(
    outside: Path, own_home: Path
) -> None:
    study = load_study("micro/smoke", kind_toys.OVERRIDES)
    [turn] = drive(study, backend="inline", home=own_home)
    [candidate] = turn.candidates
    store = Store(own_home)
    _, tuned, stage, last = (store.verified(step) for step in steps_for(candidate, study))
    record: Any = store.record(steps_for(candidate, study)[-1])
    assert record["versions"]["my-package"] == "0.1"
    assert record["result"]["composite"] >= 0
    before, after = load_file(tuned / "llm.safetensors"), load_file(stage / "llm.safetensors")
    assert any(not torch.equal(before[name], after[name]) for name in before)
    words = [word for change in kind_toys.OVERRIDES for word in ("--set", change)]
    found = json.loads(ablate("status", "micro/smoke", "--json", *words).out)
    assert [step["stage"] for step in found["steps"]][-2:] == ["halfway", "evaluate"]
    answer = ablate("report", "micro/smoke", *words)
    assert answer.code == 0, answer.err
    pages = "".join(page.read_text() for page in (own_home / "reports").rglob("*.html"))
    assert "halfway" in pages
    assert fairness.title("recipe.halfway.steps") == f"steps of {DOCUMENTED}"
    assert last.name.endswith(steps_for(candidate, study)[-1].key[:12])
    assert [step.kind for step in ancestors(steps_for(candidate, study)[-1:])] == [
        "pretrain",
        "finetune",
        "halfway",
        "evaluate",
    ]
