"""Fusions run, and learn, in every way they are used: bf16, compiled, checkpointed, on a GPU.

B batch, N tokens, C channels, H W grid.
"""

from functools import partial

import pytest
import torch
from forks import codes, forked
from fusion_toys import FUSIONS, PLAIN, SHAPES, ToyBase, Whole, build, random_maps, scrambled
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from fusion_zoo import FeatureMap, Fusion, MapShape

sides = st.integers(1, 9)
map_shapes = st.builds(MapShape, st.integers(1, 4).map(lambda n: 8 * n), sides, sides)


@pytest.mark.parametrize("name", FUSIONS)
@settings(max_examples=25, deadline=None)
@given(shapes=st.lists(map_shapes, min_size=1, max_size=5), grid=st.tuples(sides, sides))
def test_any_experts_on_any_grids_give_the_declared_finite_tokens(
    name: str, shapes: list[MapShape], grid: tuple[int, int]
) -> None:
    fusion = scrambled(build(name, shapes, grid))
    whole = Whole(fusion)
    tokens = whole(random_maps(shapes), ToyBase(shapes[0]))
    assert [tuple(t.shape) for t in tokens] == whole.declared()
    assert all(t.isfinite().all() for t in tokens)
    if name in PLAIN and name != "expert_grids":
        experts = len(shapes) if name == "sequence_append" else 1
        assert fusion.num_tokens == experts * grid[0] * grid[1]


@pytest.mark.parametrize("name", PLAIN)
def test_the_base_alone_is_handed_on_unchanged_and_free(name: str) -> None:
    fusion = build(name, SHAPES[:1], SHAPES[0].grid)
    base, maps = ToyBase(SHAPES[0]), random_maps(SHAPES[:1])
    expected = base.straight() if fusion.reaches_inside_base else maps[0].tokens()
    (tokens,) = fusion(maps, base)
    assert torch.equal(tokens, expected)
    assert fusion.flops() == fusion.num_parameters == 0


def gradients(fusion: Fusion, tokens: list[Tensor], maps: list[FeatureMap]) -> list[Tensor]:
    loss = sum((t.float() * torch.linspace(-1, 1, t.numel()).view_as(t)).sum() for t in tokens)
    used = maps[1:] if fusion.reaches_inside_base else maps
    wanted = [*fusion.parameters(), *(m.tensor for m in used)]
    return list(torch.autograd.grad(loss, wanted))


def with_grad(maps: list[FeatureMap]) -> list[FeatureMap]:
    return [FeatureMap(m.tensor.requires_grad_()) for m in maps]


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("experts", [2, 4])
def test_gradients_reach_every_parameter_and_every_map(name: str, experts: int) -> None:
    torch.manual_seed(0)
    fusion = scrambled(build(name, SHAPES[:experts], (4, 6)))
    maps = with_grad(random_maps(SHAPES[:experts]))
    for gradient in gradients(fusion, Whole(fusion)(maps, ToyBase(SHAPES[0])), maps):
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("autocast", [False, True])
def test_bf16_agrees_with_fp32_to_bf16_precision(name: str, autocast: bool) -> None:
    torch.manual_seed(0)
    fusion, base = build(name, SHAPES[:3], (5, 6)), ToyBase(SHAPES[0])
    maps = random_maps(SHAPES[:3])
    whole = Whole(fusion)
    exact = whole(maps, base)
    low = [FeatureMap(m.tensor.bfloat16()) for m in maps]
    if autocast:
        with torch.autocast("cpu", torch.bfloat16):
            rounded = whole(low, base)
    else:
        rounded = whole.bfloat16()(low, base.bfloat16())
        assert all(t.dtype == torch.bfloat16 for t in rounded)
    for one, other in zip(exact, rounded, strict=True):
        torch.testing.assert_close(one, other.float(), atol=0.05, rtol=0.02)


SHALLOW = {
    "coarse_to_fine": {"blocks": 1, "heads": 2, "head_width": 8},
    "expert_routing": {"blocks": 1, "heads": 2, "head_width": 8},
    "sphinx": {"layers": 1},
}
"""A compiler works as long on each block as on the first, which is like it."""


PAPERS = ["sequence_append", "channel_concat", "llava_hr", "mini_gemini", "deformable"]
"""The paper's five, with which the default compiler begins by tracing them, as others are alone."""
QUICK = ["llava_hr", "deformable"]
"""Of these, the ones that are traced alone, too: inside the base encoder, and behind it."""


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        *((name, "aot_eager") for name in QUICK),
        *(
            pytest.param(name, "aot_eager", marks=pytest.mark.slow)
            for name in FUSIONS
            if name not in PAPERS
        ),
        *(
            pytest.param(name, "inductor", marks=[pytest.mark.slow, pytest.mark.compiler])
            for name in PAPERS
        ),
    ],
)
def test_it_compiles_into_one_graph_with_the_same_results(name: str, backend: str) -> None:
    """Each in one graph, of which the default compiler writes the paper's in C++.

    In a process of its own: a compiler leaves threads behind, and then no test may fork.
    """
    import torch._dynamo.backends.debugging
    import torch._inductor.compile_fx  # noqa: F401  # once, before a fork, not in each process

    assert codes([forked(partial(compile_and_compare, name, backend))]) == [0]


def compile_and_compare(name: str, backend: str) -> None:
    torch.manual_seed(0)
    torch.compiler.reset()  # else it counts all fusions as ways of one function, and gives up
    shapes = SHAPES[:2]  # a compiler works as long on each expert more
    fusion = scrambled(build(name, shapes, (5, 6), **SHALLOW.get(name, {})))
    maps, base = with_grad(random_maps(shapes)), ToyBase(SHAPES[0], num_blocks=4)
    whole = Whole(fusion)
    compiled = torch.compile(whole, fullgraph=True, backend=backend)
    expected, tokens = whole(maps, base), compiled(maps, base)
    torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        gradients(fusion, tokens, maps), gradients(fusion, expected, maps), atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize("name", FUSIONS)
def test_gradients_are_the_same_under_checkpointing(name: str) -> None:
    torch.manual_seed(0)
    fusion = scrambled(build(name, SHAPES[:3], (5, 6)))
    maps, base = with_grad(random_maps(SHAPES[:3])), ToyBase(SHAPES[0])
    whole = Whole(fusion)
    expected = gradients(fusion, whole(maps, base), maps)
    tokens = checkpoint(whole, maps, base, use_reentrant=False)
    torch.testing.assert_close(gradients(fusion, tokens, maps), expected)


@pytest.mark.gpu
@pytest.mark.parametrize("name", FUSIONS)
def test_a_gpu_gives_what_the_processor_gives(name: str) -> None:
    torch.manual_seed(0)
    fusion, base = scrambled(build(name, SHAPES, (5, 6))), ToyBase(SHAPES[0])
    maps = random_maps(SHAPES)
    expected = Whole(fusion)(maps, base)
    moved = [FeatureMap(m.tensor.cuda()) for m in maps]
    for one, other in zip(expected, Whole(fusion.cuda())(moved, base.cuda()), strict=True):
        torch.testing.assert_close(one, other.cpu(), atol=1e-3, rtol=1e-3)
