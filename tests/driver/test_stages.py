"""A recipe of any number of stages, from its study to its report, done by fakes."""

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import core_fakes
import pytest
from in_process import ablate, faked

from ablate.config.study import Study, load_study
from ablate.driver.scheduler import drive
from ablate.reports import fairness, figures, tables
from ablate.reports.load import load
from ablate.search.explore import rounds_so_far
from ablate.store.artifacts import Store
from ablate.store.results import StoredResults
from ablate.store.steps import Step, ancestors, steps_for

STAGES = """
extends: micro/smoke
base:
  recipe:
    last: {kind: finetune, data: pairs, steps: 2, batch_size: 8, train: {llm: 1.0e-4}}
    again: {kind: prealign, after: prealign, data: pairs, steps: 2, batch_size: 8, train: {llm: 1}}
    between:
      {kind: pretrain, after: pretrain, data: pairs, steps: 2, batch_size: 8, train: {llm: 1.0e-4}}
"""
NAMES = ["prealign", "again", "pretrain", "between", "finetune", "last", "evaluate"]


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "stages.yaml").write_text(STAGES)
    return str(tmp_path / "stages.yaml")


def chains(study: Study) -> list[list[Step]]:
    turns = rounds_so_far(study, StoredResults(Store(Path("nowhere")), study))
    return [steps_for(one, study) for turn in turns for one in turn.candidates]


def test_each_stage_is_a_step_that_starts_from_the_one_before(path: str) -> None:
    base, pair, _ = chains(load_study(path))
    assert [step.name for step in base] == NAMES
    assert [step.kind for step in base] == [
        *("prealign", "prealign", "pretrain", "pretrain", "finetune", "finetune", "evaluate")
    ]
    assert [[*step.parents] for step in base] == [
        *([], ["prealign"], ["prealign:clip-micro@32"], ["pretrain"], ["pretrain"]),
        *(["finetune"], ["finetune"]),
    ]
    for before, step in pairwise(base):
        assert [*step.parents.values()] == [before]
    assert [step.slug for step in pair[:4]] == ["clip-micro@32", "pix2struct-micro@128"] * 2
    assert [*pair[4].parents.values()] == pair[2:4]
    assert pair[2] is base[1]  # the same object for all candidates


def test_stages_that_are_left_as_they_were_keep_their_keys(path: str) -> None:
    """Up to where another stage comes in between."""
    plain, more = chains(load_study("micro/smoke"))[0], chains(load_study(path))[0]
    assert plain[0].key == more[0].key
    known = {step.key for step in plain[1:]}
    assert not known & {step.key for step in more[1:]}
    only_last = chains(load_study(path, ["base.recipe.again=null", "base.recipe.between=null"]))[0]
    assert [step.key for step in only_last[:3]] == [step.key for step in plain[:3]]


def test_what_a_stage_is_called_and_how_its_place_is_given_is_in_no_key(path: str) -> None:
    other = Path(path).with_name("other.yaml")
    renamed = STAGES.replace("between:", "second:").replace("after: pretrain", "before: finetune")
    other.write_text(renamed)
    before, after = chains(load_study(path)), chains(load_study(str(other)))
    assert [[step.key for step in one] for one in before] == [
        [step.key for step in one] for one in after
    ]
    assert [step.dirname for step in before[0]] == [step.dirname for step in after[0]]
    assert after[0][3].name == "second"
    back = Step.from_json(json.loads(json.dumps(after[0][-1].to_json())))
    assert [step.label for step in ancestors([back])] == [step.label for step in after[0]]


@pytest.mark.parametrize("backend", ["inline", "local"])
def test_a_recipe_of_more_stages_is_driven_to_its_end(
    path: str, fakes: Mapping[str, str], own_home: Path, backend: str
) -> None:
    study = load_study(path)
    rounds = drive(study, backend=backend, jobs=1, home=own_home, executors=fakes)
    assert all(turn.decision for turn in rounds)
    done = [line.split()[0] for line in core_fakes.executed(own_home)]
    counts = {kind: done.count(kind) for kind in dict.fromkeys(done)}
    assert counts == {"prealign": 6, "pretrain": 6, "finetune": 6, "evaluate": 3}
    assert len(set(core_fakes.executed(own_home))) == len(done)


def test_plan_status_logs_table_and_report_call_a_stage_by_its_name(
    path: str, fakes: Mapping[str, str], own_home: Path
) -> None:
    planned = json.loads(ablate("plan", path, "--json").out)["steps"]
    assert [step["stage"] for step in planned[:7]] == NAMES
    assert [step["kind"] for step in planned[:3]] == ["prealign", "prealign", "pretrain"]
    assert all(step["gpu_hours"] is not None for step in planned)
    with faked(fakes):
        ran = ablate("run", path, "--backend", "inline")
    assert ran.code == 0, ran.err
    assert "done      between clip-micro@32.channel_concat" in ran.err
    found = json.loads(ablate("status", path, "--json").out)["steps"]
    assert {step["stage"] for step in found} == set(NAMES)
    said = json.loads(ablate("logs", "between/clip-micro@32.channel", "--json").out)
    assert said["step"].startswith("between-clip-micro@32.channel_concat-")
    assert "trained ['clip-micro']" in said["text"]
    pages = "".join(page.read_text() for page in (own_home / "reports").rglob("*.html"))
    assert all(f">{name}<" in pages for name in NAMES)
    journal = next((own_home / "studies").rglob("optuna.journal")).read_text()
    assert "between clip-micro@32.channel_concat" in journal


def test_a_step_is_followed_under_its_stage_s_name(path: str, own_home: Path) -> None:
    def dies(ctx: object) -> dict[str, int]:
        raise ValueError("no luck")

    executors = {**core_fakes.EXECUTORS, "finetune": dies}
    with faked(executors):
        code, out, _ = ablate(
            "run", path, "--backend", "inline", "--set", "base.recipe.finetune=null"
        )
    assert code == 1
    assert "last: no luck" in out
    assert ablate("logs", "last/clip-micro@32.channel", "-f").code == 1


def test_the_report_has_every_stage_in_order(
    path: str, fakes: Mapping[str, str], own_home: Path
) -> None:
    subject = load_study(path)
    drive(subject, backend="inline", home=own_home, executors=fakes)
    study = load(subject, own_home)
    assert list(study.stages) == NAMES
    assert tables.costs(study)["kind"].tolist() == NAMES
    labels = figures.where_time_went(study).axes[0].get_legend_handles_labels()[1]
    assert labels[: len(NAMES)] == NAMES
    assert [step.name for step in study.base.last_stages] == ["last"]


def test_stages_that_differ_between_candidates_are_told(
    path: str, fakes: Mapping[str, str], own_home: Path
) -> None:
    arms = [
        {"name": "all"},
        {"name": "fewer", "set": {"recipe.between": None}},
        {"name": "longer", "set": {"recipe.between.steps": 9}},
    ]
    explore = json.dumps({"kind": "arms", "axis": "stages", "arms": arms})
    subject = load_study(path, [f"explore={explore}"])
    drive(subject, backend="inline", home=own_home, executors=fakes)
    every, fewer, longer = load(subject, own_home).candidates
    told = {one.fact: one.text for one in fairness.among([every, fewer], (), "arms")}
    assert told["recipe.between"] == "between: left out in fewer, done in all"
    told = {one.fact: one.text for one in fairness.among([every, longer], (), "arms")}
    assert told["recipe.between.steps"] == "steps of between: 9 in longer, 2 in all"
