"""The linter of comparisons finds what differs, and only that."""

import copy
import dataclasses
from typing import Any

import pytest

from ablate.reports import fairness, tables
from ablate.reports.frame import records
from ablate.reports.model import CandidateResult, StudyResult


def changed(one: CandidateResult, **config: Any) -> CandidateResult:
    """The candidate with settings by dotted path, `__` for a dot."""
    own: Any = copy.deepcopy(dict(one.config))
    for path, value in config.items():
        *way, last = path.split("__")
        place = own
        for word in way:
            place = place[word]
        place[last] = value
    return dataclasses.replace(one, name=f"{one.name} changed", config=own)


def recorded(one: CandidateResult, kind: str, **fields: Any) -> CandidateResult:
    """The candidate with other fields in the record (or its result) of its steps of a kind."""
    steps = []
    for step in one.steps:
        record: Any = copy.deepcopy(dict(step.record))
        if step.kind == kind:
            for name, value in fields.items():
                (record["result"] if name in record["result"] else record)[name] = value
        steps.append(dataclasses.replace(step, record=record))
    return dataclasses.replace(one, name=f"{one.name} again", steps=tuple(steps))


def found(one: CandidateResult, other: CandidateResult, *varies: str) -> dict[str, str]:
    return {each.fact: each.severity for each in fairness.among([one, other], varies, "pair")}


def test_a_candidate_differs_from_itself_in_nothing(greedy: StudyResult) -> None:
    twin = dataclasses.replace(greedy.base, name="twin")
    assert fairness.among([greedy.base, twin], (), "pair") == []


@pytest.mark.parametrize(
    ("config", "fact", "severity"),
    [
        ({"recipe__finetune__batch_size": 64}, "recipe.finetune.batch_size", "warning"),
        ({"recipe__finetune__steps": 7}, "recipe.finetune.steps", "error"),
        ({"recipe__pretrain__train": {"projector": 1e-4}}, "recipe.pretrain.train", "error"),
        ({"recipe__pretrain__schedule": "constant"}, "recipe.pretrain.schedule", "warning"),
        ({"recipe__finetune__precision": "bf16"}, "recipe.finetune.precision", "warning"),
        ({"llm": "vicuna-7b"}, "llm", "error"),
        ({"seeds": [1]}, "seeds", "warning"),
    ],
)
def test_every_setting_that_differs_is_told_unless_the_study_varies_it(
    greedy: StudyResult, config: dict[str, Any], fact: str, severity: str
) -> None:
    other = changed(greedy.base, **config)
    assert found(greedy.base, other) == {fact: severity}
    assert found(greedy.base, other, fact) == {}


@pytest.mark.parametrize(
    ("kind", "fields", "fact", "severity"),
    [
        ("finetune", {"samples": 99}, "finetune.samples", "error"),
        ("finetune", {"visual_tokens": 4}, "visual tokens", "warning"),
        ("finetune", {"trainable": 5}, "trainable parameters", "note"),
        ("evaluate", {"device": "cuda"}, "evaluate.device", "warning"),
        ("evaluate", {"versions": {"torch": "9", "python": "3.11.7"}}, "package.torch", "warning"),
        ("evaluate", {"versions": {"torch": "2.9.0", "python": "4"}}, "package.python", "note"),
        ("finetune", {"git_commit": "1" * 40}, "git commit", "note"),
        ("finetune", {"restarts": 3}, "restarts", "note"),
        ("evaluate", {"machine": {"cpu": "Z9", "instructions": "AVX2"}}, "machine", "warning"),
        (
            "finetune",
            {"device": "cuda", "machine": {"cpu": "Z9", "gpu": "G"}},
            "machine",
            "warning",
        ),
        ("evaluate", {"scores": {"abl_gqa": {"n": 3}}}, "questions", "error"),
    ],
)
def test_what_records_tell_is_told(
    greedy: StudyResult, kind: str, fields: dict[str, Any], fact: str, severity: str
) -> None:
    other = recorded(greedy.base, kind, **fields)
    assert found(greedy.base, other)[fact] == severity


def test_a_finding_is_one_sentence_with_both_values(greedy: StudyResult) -> None:
    other = changed(greedy.base, recipe__finetune__batch_size=64)
    [finding] = fairness.among([greedy.base, other], (), "pair")
    assert finding.text == (
        "batch size of fine-tuning: 64 in clip-micro@32 changed, 32 in clip-micro@32"
    )


def on(one: CandidateResult, name: str, device: str = "cpu", **machine: str) -> CandidateResult:
    """The candidate as if all its steps had run on such a machine."""
    record = {"device": device, "machine": machine}
    steps = [dataclasses.replace(step, record={**step.record, **record}) for step in one.steps]
    return dataclasses.replace(one, name=name, steps=tuple(steps))


def test_kinds_of_machines_are_told_apart_by_what_computed(greedy: StudyResult) -> None:
    first = on(greedy.base, "a", cpu="Xeon", instructions="AVX512")
    second = on(greedy.base, "b", cpu="Xeon", instructions="AVX2")
    [finding] = fairness.among([first, second], (), "pair")
    assert finding == fairness.Finding(
        "warning", "machine", "pair", "machine: Xeon with AVX2 in b, Xeon with AVX512 in a"
    )
    pair = [on(greedy.base, host, "cuda", cpu=host, gpu="H100") for host in ("a", "b")]
    assert fairness.among(pair, (), "pair") == []
    unlike = on(greedy.base, "c", "cuda", cpu="a", gpu="A100")
    assert {one.fact for one in fairness.among([pair[0], unlike], (), "pair")} == {"machine"}


def test_runs_of_before_machines_were_recorded_are_told_apart(greedy: StudyResult) -> None:
    [finding] = fairness.among([greedy.base, on(greedy.base, "new", cpu="Xeon")], (), "pair")
    assert "not recorded (made by an older version) in clip-micro@32" in finding.text


def test_a_plug_in_is_named_and_another_source_of_it_is_an_error(greedy: StudyResult) -> None:
    def with_source(name: str, sha256: str) -> CandidateResult:
        plugin = {"package": "guest", "version": "1.2", "sha256": sha256}
        steps = [
            dataclasses.replace(step, spec={**step.spec, "plugins": {"fusion scaled": plugin}})
            for step in greedy.base.steps
        ]
        return dataclasses.replace(greedy.base, name=name, steps=tuple(steps))

    pair = with_source("a", "1" * 64), with_source("b", "2" * 64)
    assert fairness.facts(pair[0])["plug-in fusion scaled"] == "guest 1.2 (11111111)"
    assert found(*pair) == {"plug-in fusion scaled": "error"}


def test_other_data_is_an_error_by_its_content_not_by_its_name(greedy: StudyResult) -> None:
    steps = []
    for step in greedy.base.steps:
        spec = copy.deepcopy(dict(step.spec))
        if step.kind == "pretrain":
            spec["data"]["fingerprint"] = {"sha256": "0" * 64}
        steps.append(dataclasses.replace(step, spec=spec))
    other = dataclasses.replace(greedy.base, name="other", steps=tuple(steps))
    assert found(greedy.base, other) == {"pretrain.data": "error"}
    renamed = changed(greedy.base, recipe__pretrain__data="another name")
    assert found(greedy.base, renamed) == {}


def test_samples_that_follow_from_the_steps_are_told_once(greedy: StudyResult) -> None:
    other = recorded(changed(greedy.base, recipe__finetune__steps=7), "finetune", samples=99)
    assert found(greedy.base, other) == {"recipe.finetune.steps": "error"}


def test_two_axes_at_once_are_a_warning(greedy: StudyResult) -> None:
    other = changed(greedy.base, recipe__finetune__steps=7, llm="vicuna-7b")
    told = found(greedy.base, other, "llm", "recipe.finetune.steps")
    assert told == {"several axes": "warning"}


def test_left_out_pre_alignment_is_one_setting(greedy: StudyResult) -> None:
    other = changed(greedy.base, recipe__prealign=None)
    assert found(greedy.base, other) == {"recipe.prealign": "warning"}
    assert found(greedy.base, other, "recipe.prealign") == {}


def test_uncommitted_code_is_told_also_where_all_share_it(greedy: StudyResult) -> None:
    pair = [
        recorded(one, "evaluate", git_commit=f"{'0' * 40}-dirty")
        for one in (greedy.base, dataclasses.replace(greedy.base, name="twin"))
    ]
    told = fairness.among(pair, (), "pair")
    assert "uncommitted" in {one.fact for one in told}


def test_a_study_s_own_axis_is_no_finding_and_what_comes_with_it_is_a_note(
    greedy: StudyResult, arms: StudyResult
) -> None:
    frame = tables.fairness(greedy)
    assert set(frame["severity"]) == {"note"}
    assert all(text.startswith("parameters: ") for text in frame["finding"])
    [row] = records(tables.fairness(arms))
    assert row["severity"] == "warning"
    assert row["finding"] == "visual tokens: 32 in sequence append, 16 in channel concat, llava-hr"
