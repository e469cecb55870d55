"""What holds of every connector there is: declared figures, gradients, precision.

B batch, N tokens, C channels, D width of the language model.
"""

from math import prod
from typing import Any

import pytest
import torch
from connector_toys import (
    CASES,
    ONE,
    SAID,
    TWO,
    WIDTH,
    asked,
    build,
    name_of,
    scrambled,
    tokens_for,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fusion_figures import INTERPOLATION
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fusion_zoo import Segment
from fusion_zoo.connectors import CONNECTORS, Connector
from fusion_zoo.connectors._interface import Grid

sides = st.integers(1, 9)


def measured_flops(connector: Connector) -> int:
    counter = FlopCounterMode(display=False, custom_mapping=INTERPOLATION)
    with counter:  # in which a view of a parameter needs its gradient
        connector(tokens_for(connector, 1), asked(1))
    return counter.get_total_flops()


@pytest.mark.parametrize(("name", "options"), CASES, ids=name_of)
@pytest.mark.parametrize("given_segments", [ONE, TWO], ids=["one", "two"])
def test_declared_figures_are_the_measured_ones(
    name: str, options: dict[str, Any], given_segments: tuple[list[Segment], list[Grid]]
) -> None:
    with torch.device("meta"):
        connector = build(name, options, *given_segments)
        made = connector(tokens_for(connector, 1), asked(1))
        assert connector.flops(SAID) == measured_flops(connector)
    assert tuple(made.shape) == (1, connector.num_tokens, WIDTH)
    assert connector.grid is None or prod(connector.grid) == connector.num_tokens


@pytest.mark.parametrize("name", CONNECTORS.names())
def test_it_is_as_large_as_it_says_at_its_own_size(name: str) -> None:
    """As published, of a map of SigLIP's size in a language model of 7 billion parameters."""
    grid, width = (32, 32), 4096 if name == "identity" else 1152
    with torch.device("meta"):
        connector = CONNECTORS.build(name, [Segment(1024, width)], [grid], 4096)
        said = asked(1)._replace(tokens=torch.empty(1, SAID, 4096))
        counter = FlopCounterMode(display=False, custom_mapping=INTERPOLATION)
        with counter:  # in which a view of a parameter needs its gradient
            made = connector(tokens_for(connector, 1), said)
    assert tuple(made.shape) == (1, connector.num_tokens, 4096)
    assert connector.flops(SAID) == counter.get_total_flops()
    assert all(parameter.ndim > 0 for parameter in connector.parameters())


@pytest.mark.parametrize("name", CONNECTORS.names())
@settings(max_examples=15, deadline=None)
@given(
    shapes=st.lists(st.tuples(sides, sides, st.integers(1, 5)), min_size=1, max_size=3),
    placed=st.booleans(),
)
def test_any_segments_give_what_is_declared_or_one_line(
    name: str, shapes: list[tuple[int, int, int]], placed: bool
) -> None:
    segments = [Segment(h * w, 4 * c) for h, w, c in shapes]
    grids = [(h, w) if placed else None for h, w, _ in shapes]
    options = next(options for other, options in CASES if other == name)
    try:
        connector = build(name, options, segments, grids)
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    made = connector(tokens_for(connector), asked())
    assert tuple(made.shape) == (2, connector.num_tokens, WIDTH)
    assert made.isfinite().all()


@pytest.mark.parametrize(("name", "options"), CASES, ids=name_of)
def test_gradients_reach_every_parameter_and_every_token(
    name: str, options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    connector = build(name, options, *TWO)
    scrambled(connector)
    tokens = [one.requires_grad_() for one in tokens_for(connector)]
    said = asked()
    said.tokens.requires_grad_()
    made = connector(tokens, said)
    loss = (made * torch.randn_like(made)).sum()
    wanted = [*connector.parameters(), *tokens, *([said.tokens] * connector.asks_instruction)]
    for gradient in torch.autograd.grad(loss, wanted):
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize(("name", "options"), CASES, ids=name_of)
@pytest.mark.parametrize("autocast", [False, True])
def test_bf16_agrees_with_fp32_to_bf16_precision(
    name: str, options: dict[str, Any], autocast: bool
) -> None:
    torch.manual_seed(0)
    connector = build(name, options, *TWO)
    tokens, said = tokens_for(connector), asked()
    exact = connector(tokens, said)
    low = [one.bfloat16() for one in tokens]
    if autocast:
        with torch.autocast("cpu", torch.bfloat16):
            rounded = connector(low, said)
    else:
        rounded = connector.bfloat16()(low, said)
        assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(exact, rounded.float(), atol=0.06, rtol=0.05)


@pytest.mark.parametrize(("name", "options"), CASES, ids=name_of)
def test_images_are_seen_one_by_one_and_text_beyond_the_question_is_not(
    name: str, options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    connector = build(name, options, *TWO).eval()
    tokens, said = tokens_for(connector, 3), asked(3)
    together = connector(tokens, said)
    padded = said._replace(
        tokens=nn.functional.pad(said.tokens, (0, 0, 0, 2), value=7.0),
        mask=nn.functional.pad(said.mask, (0, 2)),
    )
    torch.testing.assert_close(connector(tokens, padded), together)
    one = said._replace(tokens=said.tokens[1:2], mask=said.mask[1:2])
    alone = connector([token[1:2] for token in tokens], one)
    torch.testing.assert_close(alone, together[1:2], atol=1e-5, rtol=1e-4)


def test_tokens_of_other_segments_are_refused() -> None:
    connector = build("mlp", {})
    with pytest.raises(ValueError, match="built for segments"):
        connector([torch.randn(2, 23, WIDTH)])
    with pytest.raises(ValueError, match="Qformer asks for the instruction of each image"):
        build("qformer", {"inner": 12, "layers": 1, "instruction": True})([torch.randn(1, 24, 24)])


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("identity", {}, "tokens are 20 wide, not 24"),
        ("pooling", {"size": 5}, "a grid of 4x6 is smaller than the size 5"),
        ("pooling", {"mode": "convolution", "size": 4}, "4 does not divide a grid of 4x6"),
        ("pooling", {"mode": "median"}, "mode 'median' is none of average, maximum, convolution"),
        ("pixel_shuffle", {"style": "vila"}, "style 'vila' is none of internvl"),
        ("pixel_shuffle", {"style": "minigpt_v2"}, "rows of 6 tokens are no runs of 4"),
        ("qformer", {"heads": 5}, "5 heads do not divide a width of 768"),
        ("resampler2d", {"queries": 60}, "60 queries are no square"),
        ("token_packer", {"size": 4}, "size 4 does not divide a grid of 4x6"),
    ],
)
def test_what_does_not_fit_is_one_line(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build(name, options, [Segment(24, 20)], [(4, 6)])
