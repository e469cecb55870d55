"""What oneDNN computes is what torch computes, and only where it may."""

import copy

import pytest
import torch
from torch import nn

from ablate.model import onednn
from ablate.model.onednn import OneDnnLinear, use_onednn

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here"
)


@pytest.fixture
def quick(monkeypatch):
    """A processor where oneDNN is quicker, whatever there is here, and for every size."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(onednn, "machine", lambda: {"cpu": "AMD EPYC"})
    monkeypatch.setattr(onednn, "LARGE", 1)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3, bias=False))


@pytest.mark.parametrize("shape", [(6,), (1, 6), (5, 6), (2, 7, 6), (0, 6)])
def test_linear_layers_by_onednn_give_the_same(quick, model, shape):
    values, expected = torch.randn(shape), copy.deepcopy(model)
    use_onednn(model)
    with torch.inference_mode():
        torch.testing.assert_close(model(values), expected(values))


def test_values_that_do_not_lie_side_by_side_are_taken(quick, model):
    values, expected = torch.randn(6, 9, 4).transpose(0, 2)[:, 2:], copy.deepcopy(model)
    use_onednn(model)
    with torch.no_grad():
        torch.testing.assert_close(model(values), expected(values))


def test_onednn_computes_what_is_large_and_has_no_gradient(quick, model, monkeypatch):
    use_onednn(model)
    seen = []
    monkeypatch.setattr(nn.Linear, "forward", lambda layer, values: seen.append(layer) or values)
    layer, values = model[0], torch.randn(5, 6)
    with torch.no_grad():
        layer(values)
        assert seen == []
        layer(values.double())
        monkeypatch.setattr(onednn, "LARGE", 5 * 6 * 8 + 1)
        layer(values)
    monkeypatch.setattr(onednn, "LARGE", 1)
    layer(values)
    assert seen == [layer] * 3


def test_weights_keep_their_names_and_learn_as_before(quick, model):
    names = list(model.state_dict())
    use_onednn(model)
    assert list(model.state_dict()) == names
    model(torch.randn(2, 6)).sum().backward()
    assert model[0].weight.grad is not None


@pytest.mark.parametrize(("cpu", "instructions"), [("Intel Xeon", "AVX512"), ("AMD EPYC", "AVX2")])
def test_torch_computes_where_it_is_as_quick(quick, model, monkeypatch, cpu, instructions):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    monkeypatch.setattr(onednn, "machine", lambda: {"cpu": cpu})
    use_onednn(model)
    assert type(model[0]) is nn.Linear


def test_a_layer_that_computes_otherwise_is_left_alone(quick):
    class Doubled(nn.Linear):
        def forward(self, input):
            return 2 * super().forward(input)

    model = nn.Sequential(Doubled(2, 2), nn.Linear(2, 2))
    use_onednn(model)
    assert [type(layer) for layer in model] == [Doubled, OneDnnLinear]
