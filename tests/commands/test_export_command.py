"""`ablate export`: a trained candidate goes into a folder whole, or not at all."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from in_process import Answer, ablate

from ablate.home import Home
from ablate.model.export import load_exported
from ablate.train.restore import load_trained

Export = Callable[..., Answer]
SHORT = [
    *("--set", "base.recipe.prealign=null"),
    *("--set", "base.recipe.pretrain.steps=1"),
    *("--set", "base.recipe.finetune.steps=1"),
    *("--set", "seeds=[0]"),
    *("--set", "explore={kind: rounds, rounds: 1, pool: [sam-micro@128]}"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which a study of one candidate, of a step a stage, has ended."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATE_HOME", str(home))
        assert ablate("run", "micro/smoke", "--backend", "inline", *SHORT).code == 0
    return home


@pytest.fixture
def export(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    """Calls the command on that home."""
    monkeypatch.setenv("ABLATE_HOME", str(trained))
    return lambda *words: ablate("export", *words, *SHORT)


def test_what_was_trained_loads_again_from_its_folder_alone(
    export: Export, trained: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "model"
    told = export("micro/smoke", str(folder))
    assert (told.code, told.out.strip()) == (0, str(folder))
    [finetuned] = Home(trained).store.glob("finetune/*")
    again = load_exported(folder).state_dict()
    for name, tensor in load_trained(finetuned).state_dict().items():
        assert torch.equal(again[name], tensor), name
    readme = (folder / "README.md").read_text()
    assert "- `clip-micro@32`: image-text contrast; Apache-2.0; this project" in readme
    lineage = json.loads(readme.partition("```json\n")[2].partition("```")[0])
    assert (lineage["study"], lineage["candidate"]) == ("micro/smoke", "clip-micro@32")
    assert finetuned.name.endswith(
        lineage["steps"][f"finetune {lineage['candidate']}.channel_concat"][:12]
    )
    assert sorted(tmp_path.rglob(".*")) == []


@pytest.mark.parametrize(
    ("named", "says"),
    [
        (
            "micro/smoke:clap-micro@32",
            "has no candidate 'clap-micro@32'; did you mean 'clip-micro@32'?",
        ),
        ("micro/smokes", "did you mean 'micro/smoke'?"),
    ],
)
def test_an_unknown_candidate_is_a_line(
    export: Export, tmp_path: Path, named: str, says: str
) -> None:
    told = export(named, str(tmp_path / "model"))
    assert told.code == 2
    assert says in told.err
    assert not list(tmp_path.glob("model*"))


def test_a_folder_that_exists_and_a_candidate_that_was_not_trained_are_refused(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "exists; name a folder that does not" in export("micro/smoke", str(tmp_path)).err
    monkeypatch.setenv("ABLATE_HOME", str(tmp_path / "empty"))
    told = ablate("export", "micro/smoke:base", str(tmp_path / "model"))
    assert told.code == 2
    assert "is not scored (waiting)" in told.err
