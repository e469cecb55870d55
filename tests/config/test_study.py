"""Studies are loaded whole or refused in one line that says where and what."""

import copy
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.catalog.data_sources import MixData, rows
from ablate.catalog.micro_encoders import WEIGHTS
from ablate.catalog.weights import weights_home
from ablate.config.study import STUDIES_DIR, load_study, named_llms, study_names
from ablate.errors import UserError
from ablate.files import datasets, home

ROUNDS = yaml.safe_load((STUDIES_DIR / "micro" / "base.yaml").read_text()) | {
    "title": "t",
    "question": "q",
    "explore": {"kind": "rounds", "pool": ["sam-micro@128", "eva02-micro@128"], "rounds": 2},
}


@pytest.mark.parametrize("name", study_names())
def test_every_shipped_study_loads(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    assert study.title
    assert study.question.endswith("?")


def test_bases_are_no_studies() -> None:
    assert "micro/rounds" in study_names()
    assert not [name for name in study_names() if name.endswith("base")]


WRONG = {
    "base.encoders.0=clip-micr@32": "did you mean 'clip-micro@32'",
    "base.encoders.0=clip-micro@33": "the nearest are 32 and 40",
    "base.encoders=[clip-micro, clip-micro@32]": "'clip-micro@32' is there 2 times",
    "base.fusion.name=chanel_concat": "did you mean 'channel_concat'",
    "base.fusion.optons={}": "unknown key; did you mean 'options'",
    "base.fusion.align_corners=true": "an option of channel_concat: write it as options: {",
    "base.recipe.finetune.objective=dpo": "(world: conversations) has right ones alone",
    "base.fusion.options.align_cornrs=true": "did you mean 'align_corners'",
    "base.fusion.options.align_corners=3": "is bool, got 3",
    "base.fusion.grid=[4]": "base.fusion.grid.1: is missing",
    "base.fusion.grid=[64, 64]": "4096 visual tokens leave no room for text",
    "base.llm=lama-micro": "did you mean 'llama-micro'",
    "base.recipe.pretrain.steps=many": "should be a valid integer, got 'many'",
    "base.recipe.pretrain.steps=1.5": "should be a valid integer, got 1.5",
    "base.recipe.pretrain.steps=true": "should be a valid integer, got True",
    "base.recipe.pretrain.epochs=1": "give steps or epochs, one of the two",
    "base.recipe.pretrain.steps=null": "give steps or epochs, one of the two",
    "base.recipe.pretrain.train.projectr=1e-3": "did you mean 'projector'",
    "base.recipe.pretrain.train=null": "should be a mapping of fields, got None",
    "base.recipe.pretrain.schedule=cosin": "did you mean 'cosine'",
    "base.recipe.pretrain.clip=-1": "should be greater than 0, got -1",
    "base.recipe.pretrain.data=pair": "no data 'pair'; did you mean 'pairs'",
    "data.pairs.world=pears": "did you mean 'pairs'",
    "data.pairs.imags=3": "unknown key; did you mean 'images'",
    "suite=micr": "no suite 'micr'; did you mean 'micro'",
    "seeds=[0, 0]": "'0' is there 2 times",
    "seeds=[-1]": "seeds.0: a seed is a whole number from 0 to 4294967295, got -1",
    "seeds=[4294967296]": "seeds.0: a seed is a whole number from 0 to 4294967295, got 4294967296",
    "seeds=[99999999999999999999]": "from 0 to 4294967295, got 99999999999999999999",
    "seeds=[1.0]": "seeds.0: should be a valid integer, got 1.0",
    "explore.kind=round": "did you mean 'rounds'",
    "explore.rounds=9": "at most 6 rounds",
    "explore.pool.0=clip-micro": "'clip-micro@32' is in the base already",
    "explore.pool.9=sam-micro": "'9' in explore.pool.9 is no item of the list",
    "explore=null": "should be a mapping of fields",
    "infra.devic=cpu": "unknown key; did you mean 'device'",
    "titel=x": "unknown key; did you mean 'title'",
    "name=x": "unknown key",
    "base": "write it as key=value",
    "=1": "there is no path before the =",
    "base..llm=1": "the path 'base..llm' has an empty part",
    "base.encoders=x": "base.encoders: should be a list, got 'x'",
    "base.encoders=[]": "base.encoders: should have 1 or more entries, got 0",
    "seeds=[]": "seeds: should have 1 or more entries, got 0",
    "title.x=1": "leads nowhere",
    "title={": "not valid YAML",
    "title=!!binary abc": "values of type 'binary' are not understood",
    "seeds=[1e400]": "too large",
}


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_override_is_named_with_the_nearest_valid_value(override: str) -> None:
    with pytest.raises(UserError) as error:
        load_study("micro/rounds", [override])
    line = str(error.value)
    assert WRONG[override] in line
    assert "\n" not in line
    at_the_override = line.startswith(f"--set {override}: ")
    assert at_the_override or re.match(r"\S+/micro/\w+\.yaml:\d+: ", line)


def test_a_stage_that_contradicts_itself_is_not_shown_whole() -> None:
    with pytest.raises(UserError, match=r"decay is of the schedule wsd \(null takes it away\)$"):
        load_study("micro/rounds", ["base.recipe.pretrain.schedule=cosine"])


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_an_error_names_file_line_field_and_value(tmp_path: Path) -> None:
    path = write(tmp_path, "mine.yaml", "extends: micro/rounds\nsuite: micro\nseeds: [0, x]\n")
    with pytest.raises(UserError, match=r"mine\.yaml:3: seeds\.1: .* got 'x'"):
        load_study(str(path))


def test_an_error_in_what_is_extended_names_that_file(tmp_path: Path) -> None:
    write(tmp_path, "under.yaml", "extends: micro/rounds\n\nsuite: macro\n")
    path = write(tmp_path, "over.yaml", "extends: under.yaml\ntitle: mine\n")
    with pytest.raises(UserError, match=r"under\.yaml:3: suite: no suite 'macro'"):
        load_study(str(path))


def test_an_error_in_an_arm_points_into_the_arm(tmp_path: Path) -> None:
    text = """extends: micro/base
title: t
question: q?
explore:
  kind: arms
  axis: fusion
  arms:
    - {name: a, set: {fusion.name: llava_hr}}
    - name: b
      set:
        fusion.name: lava_hr
"""
    with pytest.raises(UserError, match=r"arms\.yaml:11: base\.fusion\.name: .*'llava_hr'"):
        load_study(str(write(tmp_path, "arms.yaml", text)))


def test_extending_in_a_circle_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "extends: b.yaml\n")
    path = write(tmp_path, "b.yaml", "extends: a.yaml\n")
    with pytest.raises(UserError, match="cannot extend itself"):
        load_study(str(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title: a\ntitle: b\n", r"x\.yaml:2: the key 'title' is already at .*x\.yaml:1"),
        ("title: [a\n", r"x\.yaml:2: not valid YAML"),
        ("- a\n", r"x\.yaml: must be a mapping"),
        ("extends: bas.yaml\n", r"x\.yaml:1: extends: no file"),
        ("a: &a {b: *a}\n", "nested in itself"),
        ("", "title: is missing"),
        ("\x00", "not valid YAML"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_study(str(write(tmp_path, "x.yaml", text)))


def test_a_file_that_is_no_text_or_not_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x80")
    for path in (tmp_path / "x.yaml", tmp_path / "y.yaml", tmp_path):
        with pytest.raises(UserError):
            load_study(str(path))
    with pytest.raises(UserError, match="did you mean 'micro/rounds'"):
        load_study("micro/round")


def test_scalars_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    lines = ["base.recipe.pretrain.train.projector=1e-3", "title=no", "question=12:30"]
    study = load_study("micro/rounds", lines)
    assert study.base.recipe.pretrain.train["projector"] == 0.001
    assert (study.title, study.question) == ("no", "12:30")


def test_null_takes_a_part_out_of_training() -> None:
    study = load_study("micro/rounds", ["base.recipe.finetune.train.encoders=null"])
    assert set(study.base.recipe.finetune.train) == {"projector", "fusion", "llm"}


def test_overrides_reach_into_lists_and_arms() -> None:
    study = load_study("micro/fusion", ["explore.arms.0.set.fusion.name=llava_hr"])
    assert study.designs[0].fusion.name == "llava_hr"
    pool = load_study("micro/rounds", ["explore.pool.1=untrained-micro"]).explore
    assert pool.model_dump()["pool"][1] == "untrained-micro@128"


def test_every_option_of_a_fusion_is_resolved() -> None:
    study = load_study("micro/rounds", ["base.fusion.options.align_corners=false"])
    assert study.base.fusion.options == {"align_corners": False, "antialias": False}


def test_another_kind_replaces_what_it_extends(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "mine.json").write_text("[]")
    text = """extends: micro/rounds
data: {pairs: {conversations: mine.json, images: images}}
explore: {kind: arms, axis: none, arms: [{name: base}]}
"""
    study = load_study(str(write(tmp_path, "x.yaml", text)))
    assert study.rounds == 1
    assert study.data["pairs"].model_dump()["conversations"] == tmp_path / "mine.json"


def test_missing_data_files_are_named(tmp_path: Path) -> None:
    text = "extends: micro/rounds\ndata:\n  pairs: {conversations: no.json, images: .}\n"
    with pytest.raises(UserError, match=r"x\.yaml:3: data\.pairs\.conversations: nothing at"):
        load_study(str(write(tmp_path, "x.yaml", text)))


MIX = """extends: micro/rounds
data:
  pairs:
    mix:
      here: {conversations: here.json, images: photos}
      there: {conversations: $ABLATE_DATA/there/pairs.json, rows: 1000, weight: 0.5}
"""


@pytest.fixture
def mix(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    (tmp_path / "here.json").write_text("[]")
    return write(tmp_path, "mix.yaml", MIX)


def test_paths_of_a_mixture_start_at_the_study_or_at_the_root_of_data(
    mix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = load_study(str(mix)).data["pairs"]
    assert isinstance(source, MixData)
    assert source.mix["here"].conversations == mix.parent / "here.json"
    assert source.mix["there"].conversations == home() / "datasets" / "there" / "pairs.json"
    monkeypatch.setenv("ABLATE_DATA", "/disk")
    moved = load_study(str(mix)).data["pairs"]
    assert isinstance(moved, MixData)
    assert moved.mix["there"].conversations == Path("/disk/there/pairs.json")


def test_a_mixture_can_be_changed_source_by_source(mix: Path) -> None:
    over = "extends: mix.yaml\ndata: {pairs: {weight: 0.5, mix: {there: {weight: 3}}}}\n"
    source = load_study(str(write(mix.parent, "over.yaml", over))).data["pairs"]
    assert isinstance(source, MixData)
    assert {name: files.weight for name, files in source.parts.items()} == {
        "here": 0.5,
        "there": 1.5,
    }


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.pairs.mix.there.rows=null", "data.pairs.mix.there.conversations: nothing at "),
        ("data.pairs.mix.there.wieght=1", "mix.there.wieght: unknown key; did you mean 'weight'"),
        ("data.pairs.wieght=1", "data.pairs.wieght: unknown key; did you mean 'weight'"),
        ("data.pairs.mix.there.max_bad=-1", "should be greater than or equal to 0, got -1"),
    ],
)
def test_a_mistake_in_a_mixture_is_named(mix: Path, override: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        load_study(str(mix), [override])
    assert said in str(error.value)


def test_only_what_a_stage_names_has_to_be_there(mix: Path) -> None:
    study = load_study(str(mix), ["data.more={conversations: gone.json, rows: 3}"])
    assert set(study.data) == {"pairs", "conversations", "more"}
    assert set(study.learnt_from) == {"pairs", "conversations"}


def test_a_study_may_extend_the_published_data(tmp_path: Path) -> None:
    tree = copy.deepcopy(ROUNDS) | {"extends": "eagle/data", "data": {"sft-1.8m": {"weight": 0.1}}}
    for kind, name in (
        ("prealign", "sft-1.8m"),
        ("pretrain", "pretrain-558k"),
        ("finetune", "sft-1.8m"),
    ):
        tree["base"]["recipe"][kind]["data"] = name
    study = load_study(str(write(tmp_path, "mine.yaml", yaml.safe_dump(tree))))
    assert {name: rows(source) for name, source in study.learnt_from.items()} == {
        "pretrain-558k": 558_000,
        "sft-1.8m": 181_300,
    }


def complaint(file: Path) -> str:
    """What is said of the study; nothing if it is one. Anything but a UserError goes through."""
    try:
        load_study(str(file))
    except UserError as error:
        return str(error)
    return ""


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 2**70)
    | st.floats()
    | st.sampled_from(["", "a", "clip-micro@0", "kind", "../..", "\x7f", "é" * 9]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "name", "world", "set", "", "a.b"]), inner)
    ),
    max_leaves=6,
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree)
    found = [path]
    for key, child in inside:
        here = (*path, key)
        found += places(child, here) if isinstance(child, dict | list) else [here]
    return found


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_damage_to_a_study_is_harmless_or_one_line(tmp_path: Path, data: st.DataObject) -> None:
    study = copy.deepcopy(ROUNDS)
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places(study)[1:]))
        tree = study
        for part in path[:-1]:
            tree = tree[part]
        if data.draw(st.booleans()):
            tree[path[-1]] = data.draw(JUNK)
        else:
            del tree[path[-1]]
    file = tmp_path / "fuzz.yaml"
    file.write_text(yaml.safe_dump(study))
    assert "\n" not in complaint(file)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60) | st.binary(max_size=60))
def test_any_text_is_a_study_or_one_line(tmp_path: Path, text: str | bytes) -> None:
    file = tmp_path / "fuzz.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    with pytest.raises(UserError) as error:
        load_study(str(file))
    assert "\n" not in str(error.value)


def test_the_folder_of_a_language_model_starts_at_the_study_as_data_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("mine", "elsewhere"):
        (tmp_path / folder).mkdir()
    shutil.copytree(WEIGHTS / "micro" / "llama-micro", tmp_path / "mine" / "llm")
    path = write(tmp_path / "mine", "a.yaml", "extends: micro/smoke\nbase: {llm: ./llm}\n")
    arms = "{kind: arms, axis: llm, arms: [{name: b, set: {llm: llm}}]}"
    other = write(tmp_path / "mine", "b.yaml", f"extends: micro/smoke\nexplore: {arms}\n")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_study(str(path)).base.llm == str(tmp_path / "mine" / "llm")
    assert load_study(str(other)).designs[0].llm == str(tmp_path / "mine" / "llm")
    assert named_llms(str(path)) == {str(tmp_path / "mine" / "llm")}
    assert load_study("micro/smoke", ["base.llm=llama-micro"]).base.llm == "llama-micro"


@pytest.mark.parametrize("length", ["null", "0", "true", '"1024"'])
def test_a_language_model_without_a_context_length_is_an_error_line(
    tmp_path: Path, length: str
) -> None:
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "config.json").write_text(
        f'{{"hidden_size": 8, "max_position_embeddings": {length}}}'
    )
    path = write(tmp_path, "a.yaml", "extends: micro/smoke\nbase: {llm: ./llm}\n")
    with pytest.raises(UserError, match=r"a.yaml:2: base.llm: .*max_position_embeddings must be"):
        load_study(str(path))


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("ABLATE_HOME", "ABLATE_DATA", "ABLATE_WEIGHTS"):
        monkeypatch.setenv(name, f"~/{name}")
    assert home() == tmp_path / "ABLATE_HOME"
    assert datasets() == tmp_path / "ABLATE_DATA"
    assert weights_home() == tmp_path / "ABLATE_WEIGHTS"


@pytest.mark.parametrize("name", ["secret", "secret.txt", "linked.yaml"])
def test_of_a_file_that_is_no_yaml_nothing_is_told(tmp_path: Path, name: str) -> None:
    for file in ("secret", "secret.txt"):
        (tmp_path / file).write_text("hunter2: !hunter2 *hunter2\nhunter2\n")
    (tmp_path / "linked.yaml").symlink_to(tmp_path / "secret")
    path = write(tmp_path, "mine.yaml", f"extends: {name}\n")
    with pytest.raises(UserError, match="is not read: no") as error:
        load_study(str(path))
    assert "hunter2" not in str(error.value)
