"""A stage whose layers are compiled learns what it learns without."""

from functools import partial

import pytest
import torch
from test_packed_stage import assert_alike
from training_toys import Make

from ablate.train.stage import train


def test_where_nothing_compiles_one_line_says_so(
    make_context: Make, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler was found\nwith a long trace")

    monkeypatch.setattr(torch, "compile", broken)
    plain = make_context("plain", steps=1)
    asked = make_context("asked", steps=1, infra={"compile": True})
    train(plain)
    train(asked)
    assert asked.rows() == plain.rows()
    lines = [line for line in capfd.readouterr().err.splitlines() if "infra.compile" in line]
    assert lines == ["infra.compile: nothing is compiled here: no compiler was found"]


@pytest.mark.slow
@pytest.mark.usefixtures("llm_without_dropout")
def test_compiled_layers_have_the_losses_of_others(
    make_context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With graphs as for the default compiler, whose own work takes a minute; also packed."""
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    rates = {"projector": 1e-3, "llm": 1e-3, "encoders": 1e-3}
    plain = make_context("plain", steps=2, train=rates)
    infra = {"compile": True, "packing": True}
    compiled = make_context("compiled", steps=2, train=rates, infra=infra)
    for ctx in plain, compiled:
        train(ctx)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 3
    assert_alike(compiled.rows(), plain.rows())
