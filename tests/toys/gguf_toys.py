"""A tiny language model of random weights, and its GGUF file as llama.cpp's converter writes it."""

from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOKENS = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "re", "<|im_start|>", "<|im_end|>"]
HEADS, LAYERS, WIDTH = 2, 2, 32
LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    **{
        f"model.layers.{n}.{ours}.weight": f"blk.{n}.{theirs}.weight"
        for n in range(LAYERS)
        for ours, theirs in LAYER.items()
    },
}
PACKED = gguf.GGMLQuantizationType.Q8_0


def tiny_llama() -> LlamaForCausalLM:
    """Of weights that Q8_0 holds as they are: a file of it loses nothing."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=1,
        max_position_embeddings=96,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    model = LlamaForCausalLM(config).eval()
    for tensor in model.parameters():
        if tensor.ndim == 2:
            rough = gguf.quants.quantize(tensor.detach().numpy(), PACKED)
            tensor.data = torch.from_numpy(gguf.quants.dequantize(rough, PACKED))
    return model


def write(file: Path, model: LlamaForCausalLM, *, architecture: str = "llama") -> Path:
    """The file of a model, its matrices in eight bits."""
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_name("tiny")
    writer.add_license("apache-2.0")
    writer.add_context_length(96)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * (len(TOKENS) - 2) + [3, 3])
    writer.add_token_merges(["r e"])
    writer.add_bos_token_id(len(TOKENS) - 2)
    writer.add_eos_token_id(len(TOKENS) - 1)
    writer.add_chat_template(CHATML)
    for name, tensor in model.state_dict().items():
        if name in NAMES:
            _add(writer, NAMES[name], tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add(writer: gguf.GGUFWriter, name: str, values: np.ndarray) -> None:
    if values.ndim == 1:
        writer.add_tensor(name, values)
        return
    if "attn_q" in name or "attn_k" in name:  # llama.cpp turns pairs that lie side by side
        heads = HEADS if "attn_q" in name else 1
        values = values.reshape(heads, 2, len(values) // heads // 2, -1).swapaxes(1, 2)
        values = values.reshape(-1, WIDTH)
    writer.add_tensor(name, gguf.quants.quantize(values, PACKED), raw_dtype=PACKED)
