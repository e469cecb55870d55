"""Two steps are one exactly if what determines their result is the same."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.catalog import step_kinds
from ablate.config.study import Study, load_study
from ablate.design import Candidate
from ablate.design.fidelity import Fidelity
from ablate.search.explore import rounds_so_far
from ablate.store.artifacts import Store
from ablate.store.canonical import Part, by_content, canonical
from ablate.store.results import StoredResults
from ablate.store.steps import Step, ancestors, steps_for

SPEC = {"rate": 1e-3, "steps": 60, "train": {"llm": 1.0, "projector": 2}, "note": "é", "none": None}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def candidate(study: Study, **changed: Any) -> Candidate:
    fields = {field: getattr(study.base, field) for field in type(study.base).model_fields}
    return Candidate(**{**fields, "name": "x", "point": "x", "round": 1, "seed": 0, **changed})


def keys(study: Study, **changed: Any) -> list[str]:
    return [step.key for step in steps_for(candidate(study, **changed), study)]


def test_keys_never_change_unnoticed() -> None:
    parent = Step("prealign", "a@1", SPEC)
    child = Step("pretrain", "other words", SPEC, {"prealign:a@1": parent})
    assert step_kinds.find("prealign").schema == step_kinds.find("pretrain").schema == 1
    assert parent.key == "6d4c7f620e9a6670ffabd71682f514fa227d69eb0eb1b1bceee480cd8101be32"
    assert child.key == "f69928ad9beeecbd36951615cd78993c7a570f099477a51737bad3ae63aa22da"
    assert child.dirname == "other-words-" + child.key[:12]


VERSION_0_1_0 = [
    f"base.recipe.{field}"
    for stage, steps in (("prealign", 300), ("pretrain", 340), ("finetune", 120))
    for field in (f"{stage}.steps={steps}", f"{stage}.schedule=cosine", f"{stage}.decay=null")
] + ["base.recipe.prealign.warm_projector=220", "base.recipe.pretrain.warmup=0.03"]


def test_what_the_micro_study_trained_with_version_0_1_0_is_still_known() -> None:
    """An evaluation's key also holds lmms-eval's version, so it is not written down here."""
    study = load_study("micro/rounds", VERSION_0_1_0)
    base = rounds_so_far(study, StoredResults(Store(Path("nowhere")), study), 1)[0].candidates[0]
    assert [step.key for step in steps_for(base, study)[:-1]] == [
        "25a54699922900a2393e8137b96778ca1c23a32862e6981c733aab1f5e10e7c5",
        "e1e1b96273d16292b67f890fc37e2fd657cb3f3e7a4530cd4f2e4cf0cb64af6c",
        "32bdb66fff7465beecc525c15867f01f843d54cfe03ca73e249b598f13f7cda6",
    ]


@given(a=JSON, b=JSON)
def test_canonical_json_is_equal_for_equal_values_only(a: Any, b: Any) -> None:
    def typed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: typed(child) for key, child in value.items()}
        if isinstance(value, list):
            return [typed(child) for child in value]
        return type(value).__name__, repr(value)

    assert (canonical(a) == canonical(b)) == (typed(a) == typed(b))
    assert typed(json.loads(canonical(a))) == typed(a)


@given(values=st.dictionaries(st.text(), JSON, min_size=2))
def test_the_order_of_keys_does_not_count(values: dict[str, Any]) -> None:
    assert canonical(dict(reversed(values.items()))) == canonical(values)


def test_a_number_a_whole_number_and_a_word_differ() -> None:
    assert len({canonical(value) for value in (1, 1.0, "1", True)}) == 4


@pytest.mark.parametrize("value", [{1: "a"}, {"a": {2}}, [b"x"], {"a": Path("x")}])
def test_what_json_would_change_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_without_json_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(value)


@given(spec=st.dictionaries(st.text(), JSON))
def test_a_key_is_that_of_the_whole_however_it_is_put_together(spec: dict[str, Any]) -> None:
    parts = {name: Part(one) if isinstance(one, dict) else one for name, one in spec.items()}
    content = {name: by_content(one) for name, one in spec.items()}
    whole = {"kind": "pretrain", "schema": 1, "parents": {}, "spec": content}
    key = hashlib.sha256(canonical(whole).encode()).hexdigest()
    assert Step("pretrain", "x", spec).key == Step("pretrain", "x", parts).key == key
    assert canonical(parts) == canonical(spec)


@given(slug=st.text())
def test_any_slug_is_a_safe_name_of_a_folder(slug: str) -> None:
    name = Step("bake", slug, {}).dirname
    assert len(name) < 150
    assert name == Path(name).name
    assert not name.startswith((".", "-"))
    assert name.isascii()


def test_a_step_survives_the_way_to_a_worker() -> None:
    study = load_study("micro/rounds")
    last = steps_for(candidate(study), study)[-1]
    back = Step.from_json(json.loads(json.dumps(last.to_json())))
    assert [step.key for step in ancestors([back])] == [step.key for step in ancestors([last])]
    assert back.dirname == last.dirname


INFRA = [
    "infra.device=cpu",
    "infra.micro_batch_size=4",
    "infra.num_workers=2",
    "infra.checkpoint_every_steps=7",
    "infra.slurm.partition=big",
]


def test_where_it_runs_is_in_no_key() -> None:
    plain = load_study("micro/rounds")
    assert keys(plain) == keys(load_study("micro/rounds", INFRA))


def test_words_are_in_no_key() -> None:
    plain = load_study("micro/rounds")
    assert keys(plain) == keys(load_study("micro/rounds", ["title=x", "question=y"]), name="z")


CHANGES = {
    "base.recipe.prealign.steps=61": 0,
    "base.recipe.feature_norm=none": 0,
    "base.fusion.grid=[2, 2]": 0,
    "data.conversations.images=3999": 0,
    "base.recipe.pretrain.train.projector=3.1e-3": 1,
    "base.fusion.options.antialias=true": 1,
    "data.pairs.seed=7": 1,
    "base.recipe.finetune.weight_decay=0.1": 2,
    "base.recipe.finetune.group_by_length=true": 2,
    "suite=micro-blind": 3,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_renews_the_steps_it_reaches_and_no_other(change: str) -> None:
    before, after = keys(load_study("micro/rounds")), keys(load_study("micro/rounds", [change]))
    same = [a == b for a, b in zip(before, after, strict=True)]
    assert same == [n < CHANGES[change] for n in range(4)]


def test_a_default_that_is_spelled_out_changes_nothing() -> None:
    spelled = [
        "base.recipe.finetune.clip=1",
        "base.recipe.finetune.warmup=0.03",
        "base.fusion.options.antialias=false",
        "base.encoders=[clip-micro]",
    ]
    assert keys(load_study("micro/rounds")) == keys(load_study("micro/rounds", spelled))


def test_data_files_count_by_content_not_by_place(tmp_path: Path) -> None:
    found = []
    for name in ("here", "there"):
        folder = tmp_path / name
        (folder / "images").mkdir(parents=True)
        (folder / "images" / "a.png").write_bytes(b"not looked into")
        (folder / f"{name}.json").write_text("[]")
        pairs = f"{{conversations: {name}.json, images: images}}"
        (folder / "study.yaml").write_text(f"extends: micro/rounds\ndata: {{pairs: {pairs}}}")
        found.append(keys(load_study(str(folder / "study.yaml"))))
    assert found[0] == found[1]


def mixed(folder: Path, *, present: bool, **fields: Any) -> list[str]:
    """Keys of a study that pre-trains on one source, there or only declared."""
    folder.mkdir()
    if present:
        (folder / "pairs.json").write_text("[]")
    source = {"conversations": "pairs.json", "rows": 9, **fields}
    data = {"pairs": {"mix": {"a": source}}}
    (folder / "study.yaml").write_text(json.dumps({"extends": "micro/rounds", "data": data}))
    return keys(load_study(str(folder / "study.yaml")))


def test_keys_of_data_that_is_only_declared_are_never_those_of_content(tmp_path: Path) -> None:
    planned, there = mixed(tmp_path / "a", present=False), mixed(tmp_path / "e", present=True)
    assert [a == b for a, b in zip(planned, there, strict=True)] == [True, False, False, False]
    elsewhere = mixed(tmp_path / "b", present=True, rows=8, origin="x", max_bad=3)
    assert elsewhere == there
    assert mixed(tmp_path / "c", present=False) == planned
    assert mixed(tmp_path / "d", present=False, rows=8) != planned


def test_weights_of_a_known_checksum_count_by_it_not_by_place() -> None:
    def key(ref: str, sha256: str | None) -> str:
        return Step("pretrain", "x", {"llm": {"ref": ref, "sha256": sha256}}).key

    assert key("/here", "abc") == key("/there", "abc")
    assert key("/here", "abc") != key("/here", "abd")
    assert key("/here", None) != key("/there", None)


def test_published_weights_count_by_repository_file_revision_and_checksum() -> None:
    def key(**changed: str | None) -> str:
        fields = {"kind": "published", "ref": "a/b", "file": "x", "revision": None, "sha256": None}
        return Step("pretrain", "x", {"weights": {**fields, **changed}}).key

    changes = [{}, {"ref": "a/c"}, {"file": "y"}, {"revision": "1"}, {"sha256": "2"}]
    changes.append({"sha256": "2", "ref": "a/c"})
    assert len({key(**change) for change in changes}) == len(changes)


def test_the_papers_candidates_are_planned_without_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper = ["base.encoders=[clip-l14, convnext-xxl]", "base.llm=vicuna-7b"]
    paper += ["base.fusion.grid=[32, 32]", "base.recipe.prealign=null"]
    paper += [f"base.recipe.{stage}.max_length=2048" for stage in ("pretrain", "finetune")]
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    without = keys(load_study("micro/rounds", paper))
    for repository in "openai/clip-vit-large-patch14-336", "lmsys/vicuna-7b-v1.5":
        (tmp_path / repository).mkdir(parents=True)
        for file in "config.json", "model.safetensors":
            (tmp_path / repository / file).write_text("{}")
    assert keys(load_study("micro/rounds", paper)) == without


def test_the_prompt_of_a_chat_is_in_no_key_and_another_is() -> None:
    """So that steps of before there was a choice are still the same."""
    plain = keys(load_study("micro/rounds"))
    assert keys(load_study("micro/rounds", ["base.recipe.pretrain.prompt=chat"])) == plain
    changed = keys(load_study("micro/rounds", ["base.recipe.pretrain.prompt=plain"]))
    assert [a == b for a, b in zip(plain, changed, strict=True)] == [True, False, False, False]


def test_the_micro_study_has_10_candidates_and_each_expert_is_prealigned_once() -> None:
    study = load_study("micro/rounds", ["seeds=[0]"])
    rounds = rounds_so_far(study, StoredResults(Store(Path("nowhere")), study))
    candidates = [one for turn in rounds for one in turn.candidates]
    assert [len(turn.candidates) for turn in rounds] == [1, 5, 4]
    steps = ancestors(steps_for(one, study)[-1] for one in candidates)
    kinds = [step.kind for step in steps]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "prealign": 6,
        "pretrain": 10,
        "finetune": 10,
        "evaluate": 10,
    }


def test_arms_that_agree_until_later_share_their_steps() -> None:
    study = load_study("micro/prealign", ["seeds=[0]"])
    arms = rounds_so_far(study, StoredResults(Store(Path("nowhere")), study))[0].candidates
    steps = ancestors(steps_for(arm, study)[-1] for arm in arms)
    assert len([step for step in steps if step.kind == "pretrain"]) == 2
    assert len([step for step in steps if step.kind == "finetune"]) == 4


def steps_at(study: Study, questions: float = 1.0, **stages: float) -> dict[str, Step]:
    some = Fidelity(stages=stages, questions=questions)
    return {step.kind: step for step in steps_for(candidate(study, fidelity=some), study)}


def test_what_is_done_in_part_is_another_step_and_so_is_what_follows_it() -> None:
    study = load_study("micro/rounds")
    whole, part = steps_at(study), steps_at(study, pretrain=0.5, finetune=1.0)
    assert part["prealign"].key == whole["prealign"].key
    assert part["pretrain"].spec["stage"] == {**whole["pretrain"].spec["stage"], "share": 0.5}
    assert part["finetune"].spec == whole["finetune"].spec
    assert all(part[kind].key != whole[kind].key for kind in ("pretrain", "finetune", "evaluate"))
    asked = steps_at(study, questions=0.25)
    assert asked["finetune"].key == whole["finetune"].key
    assert asked["evaluate"].spec == {**whole["evaluate"].spec, "questions": 0.25}
    assert asked["evaluate"].key != whole["evaluate"].key


def test_steps_of_every_share_have_one_whole() -> None:
    study = load_study("micro/rounds")
    whole = steps_at(study)
    for kind in ("prealign", "pretrain", "finetune"):
        some = steps_at(study, **{kind: 0.25})[kind]
        assert some.whole.key == steps_at(study, **{kind: 0.5})[kind].whole.key == whole[kind].key
        assert (some.share, some.whole.share, whole[kind].share) == (0.25, 1.0, 1.0)
        assert Step.from_json(json.loads(json.dumps(some.to_json()))).whole.key == whole[kind].key
    asked = steps_at(study, questions=0.25)["evaluate"]
    assert (asked.share, asked.whole.key) == (0.25, whole["evaluate"].key)
    assert all(step.whole is step for step in whole.values())


def test_a_schedule_has_its_own_key_and_its_decay_a_part_in_it() -> None:
    def pretrained(schedule: str, decay: str) -> str:
        sets = [f"base.recipe.pretrain.{one}" for one in (f"schedule={schedule}", f"decay={decay}")]
        return keys(load_study("micro/rounds", sets))[1]

    assert len({pretrained(*one) for one in SCHEDULES}) == len(SCHEDULES)
    assert pretrained("wsd", "null") == pretrained("wsd", "0.2")


SCHEDULES = (("cosine", "null"), ("constant", "null"), ("wsd", "null"), ("wsd", "0.1"))


def test_a_grown_candidate_begins_at_the_last_training_of_the_smaller_one() -> None:
    study = load_study("micro/rounds")
    one, two, three = (study.shelf[:count] for count in (1, 2, 3))
    base = study.base.model_copy(update={"encoders": one})
    second = base.model_copy(update={"encoders": two, "grown_from": base})
    third = base.model_copy(update={"encoders": three, "grown_from": second})
    fields = {field: getattr(third, field) for field in type(third).model_fields}
    chain = steps_for(candidate(study, **fields), study)
    assert [step.name for step in chain] == ["prealign", "pretrain", "finetune", "evaluate"]
    prealign, pretrain, finetune, _ = chain
    assert prealign.slug == three[2]
    assert pretrain.parents.keys() == {f"prealign:{three[2]}", "grown"}
    before = pretrain.parents["grown"]
    assert (before.kind, before.parents["pretrain"].parents.keys()) == (
        "finetune",
        {f"prealign:{two[1]}", "grown"},
    )
    alone = steps_for(candidate(study, encoders=three), study)
    assert finetune.spec == alone[-2].spec
    assert finetune.key != alone[-2].key
    whole = steps_for(candidate(study, encoders=one), study)
    assert before.parents["pretrain"].parents["grown"].key == whole[-2].key
