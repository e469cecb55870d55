"""Fusions that ask for the instruction, or inject, train like any other, and go on where killed."""

from pathlib import Path

import doc_examples
import pytest
import torch
from training_toys import Context, Make, train_apart, weights

from ablate.errors import UserError
from ablate.train.restore import load_trained
from ablate.train.stage import train


@pytest.fixture(autouse=True)
def _theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples of `docs/extending`, as another package."""
    doc_examples.install(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"), [("question_gate", {}), ("cross_attention", {"every": 1, "heads": 2})]
)
def test_killed_and_resumed_it_ends_with_the_same_weights(
    make_context: Make, name: str, options: dict[str, int]
) -> None:
    trained = {"projector": 2e-3, "fusion": 2e-3, "llm": 1e-3}

    def context(folder: str) -> Context:
        ctx = make_context(
            folder,
            steps=4,
            train=trained,
            infra={"checkpoint_every_steps": 2, "micro_batch_size": 3},
        )
        ctx.spec["model"]["fusion"] = {"name": name, "grid": [2, 2], "options": options}
        return ctx

    whole, killed = context("whole"), context("killed")
    figures = train(whole)  # type: ignore[arg-type]
    assert train_apart(killed, 3) != 0  # type: ignore[arg-type]
    train(killed)  # type: ignore[arg-type]
    assert killed.rows() == whole.rows()
    first, second = weights(whole.work), weights(killed.work)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[one], second[one]) for one in first)
    gates = [one for one in first if one.startswith("fusion/") and "gate" in one]
    assert gates
    assert all(first[one].abs().sum() > 0 for one in gates)
    assert figures["visual_tokens"] == (4 if name == "question_gate" else 0)
    model = load_trained(whole.commit())
    assert type(model.mixture.fusion).__module__ == f"their_examples.{name}"


def test_a_stage_in_which_nothing_can_learn_is_refused(make_context: Make) -> None:
    ctx = make_context(steps=2, train={"projector": 1e-3})
    fusion = {"name": "cross_attention", "grid": [2, 2], "options": {"heads": 2}}
    ctx.spec["model"]["fusion"] = fusion
    with pytest.raises(UserError, match="nothing learns: no parameters in projector"):
        train(ctx)  # type: ignore[arg-type]
    ctx.spec["stage"] |= {"train": {"projector": 1e-3, "fusion": 1e-3}, "warm_projector": 1}
    with pytest.raises(UserError, match="warm_projector: with cross_attention no projector learns"):
        train(ctx)  # type: ignore[arg-type]
