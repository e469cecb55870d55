"""What oneDNN computes is what torch computes, to the bit where it is used, where it may."""

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ablate.model import onednn
from ablate.model.onednn import FEW, OneDnnLinear, use_onednn

SIZES = st.integers(FEW, 700) | st.sampled_from([128, 192, 256, 384, 512, 1128])
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "rows": lambda matrix: matrix.contiguous(),
    "columns": lambda matrix: matrix.t().contiguous().t(),
    "gaps": lambda matrix: torch.cat([matrix, matrix], 1)[:, : matrix.shape[1]],
    "gaps in columns": lambda matrix: LAYOUTS["gaps"](matrix.t()).t(),
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor where oneDNN is quicker, whatever there is here, and for every size."""
    monkeypatch.setattr(onednn, "_is_quicker", lambda: True)
    monkeypatch.setattr(onednn, "_is_alike", lambda: True)
    monkeypatch.setattr(onednn, "LARGE", 1)
    monkeypatch.setattr(onednn, "FEW", 1)


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3, bias=False))


def assert_same(ours: Tensor | None, theirs: Tensor | None) -> None:
    """To the bit where it is used; elsewhere MKL adds up in another order."""
    assert ours is not None
    assert theirs is not None
    if onednn._is_quicker() and onednn._is_alike():
        assert torch.equal(ours, theirs)
    else:
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@settings(max_examples=25)
@given(SIZES, SIZES, SIZES, st.sampled_from([*LAYOUTS]), st.sampled_from([*LAYOUTS]))
def test_a_product_is_that_of_torch(
    rows: int, inner: int, columns: int, left: str, right: str
) -> None:
    draw = torch.Generator().manual_seed(rows * inner + columns)
    first = LAYOUTS[left](torch.randn(rows, inner, generator=draw))
    second = LAYOUTS[right](torch.randn(inner, columns, generator=draw))
    assert_same(onednn._multiply(first, second), first @ second)


@pytest.mark.parametrize("shape", [(50, 128), (3, 70, 128), (3, 70, 256), (2, 2, 40, 384)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_learns_what_it_learns_without(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(shape[-1], 130, bias=bias)
    seen = torch.randn(shape, requires_grad=True)
    results = []
    for kind in nn.Linear, OneDnnLinear:
        layer.__class__ = kind
        made = layer(seen)
        results.append([made, *torch.autograd.grad(made.sin().sum(), [seen, *layer.parameters()])])
    for theirs, ours in zip(*results, strict=True):
        assert_same(ours, theirs)


@pytest.mark.parametrize("shape", [(6,), (1, 6), (5, 6), (2, 7, 6), (0, 6)])
@pytest.mark.usefixtures("quick")
def test_any_number_of_rows_is_taken(model: nn.Sequential, shape: tuple[int, ...]) -> None:
    values, expected = torch.randn(shape), copy.deepcopy(model)
    use_onednn(model)
    with torch.inference_mode():
        torch.testing.assert_close(model(values), expected(values))


@pytest.mark.usefixtures("quick")
def test_values_that_do_not_lie_side_by_side_are_taken(model: nn.Sequential) -> None:
    values, expected = torch.randn(6, 9, 4).transpose(0, 2)[:, 2:], copy.deepcopy(model)
    use_onednn(model)
    torch.testing.assert_close(model(values), expected(values))


@pytest.mark.usefixtures("quick")
def test_what_is_small_or_no_float32_is_left_to_torch(
    model: nn.Sequential, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_onednn(model)
    seen: list[nn.Module] = []
    monkeypatch.setattr(nn.Linear, "forward", lambda layer, values: seen.append(layer) or values)
    layer, values = model[0], torch.randn(5, 6)
    layer(values)
    assert seen == []
    layer(values.double())
    with torch.autocast("cpu", torch.bfloat16):
        layer(values)
    monkeypatch.setattr(onednn, "LARGE", 5 * 6 * 8 + 1)
    layer(values)
    assert seen == [layer] * 3


@pytest.mark.usefixtures("quick")
def test_weights_keep_their_names_and_a_frozen_one_has_no_gradient(model: nn.Sequential) -> None:
    names = list(model.state_dict())
    use_onednn(model)
    model[0].requires_grad_(False)
    assert list(model.state_dict()) == names
    model(torch.randn(2, 6)).sum().backward()
    assert model[0].weight.grad is None
    assert model[2].weight.grad is not None


@pytest.mark.parametrize("what", ["_is_quicker", "_is_alike"])
@pytest.mark.usefixtures("quick")
def test_torch_computes_where_it_is_as_quick_or_adds_up_otherwise(
    model: nn.Sequential, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(onednn, what, lambda: False)
    use_onednn(model)
    assert type(model[0]) is nn.Linear


@pytest.mark.parametrize(("cpu", "instructions"), [("Intel Xeon", "AVX512"), ("AMD EPYC", "AVX2")])
def test_elsewhere_it_is_not_quicker(
    monkeypatch: pytest.MonkeyPatch, cpu: str, instructions: str
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    monkeypatch.setattr(onednn, "machine", lambda: {"cpu": cpu})
    assert not onednn._is_quicker()


@pytest.mark.usefixtures("quick")
def test_a_layer_that_computes_otherwise_is_left_alone() -> None:
    class Doubled(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    model = nn.Sequential(Doubled(2, 2), nn.Linear(2, 2))
    use_onednn(model)
    assert [type(layer) for layer in model] == [Doubled, OneDnnLinear]
