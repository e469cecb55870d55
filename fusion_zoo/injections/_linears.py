"""What injections into the linear layers of blocks share.

B conversations, S tokens that the language model reads of each; V visual tokens in the contexts.
"""

from __future__ import annotations

from torch import Tensor, nn

from fusion_zoo.injections._interface import Decoder, Injection, LinearShape, Seen


class LinearInjection(Injection):
    """Computes the visual tokens otherwise in the linear layers of some blocks.

    All visual tokens stand in the context. `layers` holds a module for each linear layer, by block
    and name with `_` for its dots.
    """

    def __init__(self, llm: Decoder, blocks: tuple[int, ...]) -> None:
        super().__init__(llm)
        self.linears = tuple((block, name) for block in blocks for name in llm.blocks[block])
        if not self.linears:
            raise ValueError("the blocks of the language model have no linear layers")
        self.layers = nn.ModuleDict(
            {
                str(block): nn.ModuleDict(
                    {_key(name): self.beside(shape) for name, shape in llm.blocks[block].items()}
                )
                for block in blocks
            }
        )

    def beside(self, shape: LinearShape) -> nn.Module:
        """What a linear layer of this shape gets beside it."""
        raise NotImplementedError

    def layer(self, block: int, name: str) -> nn.Module:
        """What the linear layer has beside it."""
        return self.layers.get_submodule(f"{block}.{_key(name)}")


def visual(x: Tensor, seen: Seen) -> Tensor:
    """(V,C) the visual tokens of x (B,S,C)."""
    return x.flatten(0, 1).index_select(0, seen.places)


def _key(name: str) -> str:
    return name.replace(".", "_")
