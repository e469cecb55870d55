"""A language model's blocks, and an injection that fits them."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ablate.adapters import linear_layers
from ablate.catalog.llms import LlmSpec
from ablate.errors import UserError
from fusion_zoo.injections import INJECTIONS, Decoder, Injection, LinearShape


def build_injection(
    choice: Mapping[str, Any], llm: PreTrainedModel, name: str, tokens: int, *, cut: bool
) -> Injection:
    """The injection {"name": ..., **options}, for a language model of this name, on any device.

    Where it begins with weights of the language model it has them. `tokens`: visual ones of an
    image, at most; `cut`: whether by a tiling. UserError where it fits not these, or not the
    language model.
    """
    options = {**choice}
    kind = options.pop("name")
    try:
        injection: Injection = INJECTIONS.build(kind, decoder_of(llm), **options)
        for block, layer in injection.linears:
            injection.start(block, layer, *_weights(find_blocks(llm)[block].get_submodule(layer)))
        check_fits(injection, llm, name)
        injection.context_tokens(tokens)
        if cut and injection.runs > 1:
            raise UserError("it cuts an image's tokens into runs, which a tiling does; take none")
    except (ValueError, UserError) as error:
        raise UserError(f"injection '{kind}': {error}") from error
    return injection


def check_fits(injection: Injection, llm: PreTrainedModel, name: str) -> None:
    """UserError unless a language model of this name has what the injection changes."""
    blocks = find_blocks(llm)
    numbers = {*injection.before_blocks, *injection.after_blocks}
    numbers.update(block for block, _ in injection.linears)
    if (numbers or injection.masks) and not blocks:
        raise UserError(
            f"it changes the blocks of the language model, but {name} ({type(llm).__name__}) opens "
            "no list of its blocks; take prefix"
        )
    for number in sorted(numbers):
        if not 0 <= number < len(blocks):
            raise UserError(f"{name} has {len(blocks)} blocks, and no number {number}")
    if injection.linears:
        _require_linear(blocks[0], name)
    if injection.masks:
        place_of_mask(blocks[0], name)


def random_language_model(spec: LlmSpec) -> PreTrainedModel:
    """A language model of random weights, on torch's device."""
    if (spec.folder / "config.json").is_file():
        config = AutoConfig.from_pretrained(spec.folder)
    else:
        config = AutoConfig.for_model(**spec.config)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model


def decoder_of(llm: PreTrainedModel) -> Decoder:
    """A language model as injections are told it."""
    text = llm.config.get_text_config(decoder=True)
    heads = int(getattr(text, "num_attention_heads", None) or 1)
    width = llm.get_input_embeddings().embedding_dim
    eps = getattr(text, "rms_norm_eps", None) or getattr(text, "layer_norm_epsilon", None)
    return Decoder(
        width=width,
        heads=heads,
        key_heads=int(getattr(text, "num_key_value_heads", None) or heads),
        head_width=int(getattr(text, "head_dim", None) or width // heads),
        inner=int(getattr(text, "intermediate_size", None) or 4 * width),
        eps=float(eps or 1e-5),
        blocks=tuple(
            {name: _shape(layer) for name, layer in linear_layers(block).items()}
            for block in find_blocks(llm)
        ),
    )


def find_blocks(llm: PreTrainedModel) -> nn.ModuleList:
    """The one list of as many blocks as the language model's configuration says; empty without."""
    count = count_blocks(llm)
    lists = [
        module
        for module in llm.modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    return lists[0] if count and len(lists) == 1 else nn.ModuleList()


def count_blocks(llm: PreTrainedModel) -> int:
    """How many blocks the configuration says; 0 where it does not."""
    return int(getattr(llm.config.get_text_config(decoder=True), "num_hidden_layers", 0))


APART = {"full_attention", "sliding_attention"}
"""The kinds of layers that learn of other tokens by attention alone."""


def reads_by_attention(llm: PreTrainedModel) -> bool:
    """Whether attention is all by which a token learns of others, and can be put in its place."""
    kinds = {*(getattr(llm.config.get_text_config(decoder=True), "layer_types", None) or ())}
    return kinds <= APART and llm._supports_attention_backend and not llm._is_stateful


def place_of_mask(block: nn.Module, name: str) -> int:
    """Where among the arguments of a block the mask of attention is; UserError without one."""
    arguments = list(inspect.signature(block.forward).parameters)
    if "attention_mask" not in arguments:
        raise UserError(
            f"it changes the mask of attention, but a block of {name} ({type(block).__name__}) is "
            "given none; take prefix"
        )
    return arguments.index("attention_mask")


def _require_linear(block: nn.Module, name: str) -> None:
    """UserError unless all matrices of a block are linear layers that read every token."""
    layers = linear_layers(block)
    for parameter, tensor in block.named_parameters():
        layer = parameter.rpartition(".")[0]
        some = layer not in layers or any(word.isdecimal() for word in layer.split("."))
        if tensor.ndim > 1 and some:
            raise UserError(
                f"it changes linear layers that read every token, but {parameter} in a block of "
                f"{name} ({type(block).__name__}) is of none; take prefix"
            )


def _shape(layer: nn.Module) -> LinearShape:
    weight, bias = _weights(layer)
    outputs, inputs = weight.shape
    return LinearShape(inputs, outputs, bias is not None)


def _weights(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """(outputs, inputs) and (outputs,) of a linear layer."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    assert bias is None or isinstance(bias, Tensor)
    return weight.T if isinstance(layer, Conv1D) else weight, bias
