"""Independent implementations in float64 of what our encoders do, from the published maths.

Shapes: B batch, N tokens, C channels, H W grid, h heads.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

State = Mapping[str, Tensor]


def cubic(distance: float, a: float) -> float:
    """Keys' kernel."""
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def resampling(old: int, new: int, mode: str, antialias: bool) -> np.ndarray:
    """(new,old) weights of bilinear or bicubic resampling at half-pixel centres."""
    matrix = np.zeros((new, old))
    scale = old / new
    stretch = max(scale, 1.0) if antialias else 1.0
    for i in range(new):
        centre = (i + 0.5) * scale - 0.5
        reach = int(np.ceil(2 * stretch)) + 1
        for j in range(int(np.floor(centre)) - reach, int(np.floor(centre)) + reach + 1):
            distance = (j - centre) / stretch
            if mode == "bilinear":
                weight = max(0.0, 1 - abs(distance))
            else:
                weight = cubic(distance, -0.5 if antialias else -0.75)
            if not antialias:  # the edge is repeated
                matrix[i, min(max(j, 0), old - 1)] += weight
            elif 0 <= j < old:  # what lies outside is left out
                matrix[i, j] += weight
    return matrix / matrix.sum(1, keepdims=True)


def resized(image: Tensor, size: tuple[int, int], mode: str, antialias: bool) -> Tensor:
    """(...,H,W) -> (...,*size) in float64."""
    rows, columns = (
        torch.from_numpy(resampling(old, new, mode, antialias))
        for old, new in zip(image.shape[-2:], size, strict=True)
    )
    return rows @ image.double() @ columns.T


def eva02_detector(state: State, pixels: Tensor, *, patch: int, heads: int, window: int,
                   whole: set[int], trained: int) -> Tensor:  # fmt: skip
    """(B,3,h,w) normalised pixels -> (B,C,H,W) of the EVA-02 detector's backbone.

    `state` in the published names below `backbone.net.`; `trained`: rotary positions' range.
    """
    net = {k.removeprefix("backbone.net."): t.double() for k, t in state.items()}
    weight = net["patch_embed.proj.weight"]
    maps = torch.nn.functional.conv2d(
        pixels.double(), weight, net["patch_embed.proj.bias"], stride=patch
    )
    side = int((net["pos_embed"].shape[1] - 1) ** 0.5)
    table = net["pos_embed"][0, 1:].T.reshape(-1, side, side)
    x = (maps + resized(table, maps.shape[-2:], "bicubic", False)).permute(0, 2, 3, 1)
    for n in range(1 + max(int(k.split(".")[1]) for k in net if k.startswith("blocks."))):
        block = {k.removeprefix(f"blocks.{n}."): t for k, t in net.items() if f"blocks.{n}." in k}
        normed = _layer_norm(x, block, "norm1")
        x = x + _rotary_attention(normed, block, heads, None if n in whole else window, trained)
        inner = _layer_norm(x, block, "norm2")
        gate = _linear(inner, block, "mlp.w1")
        hidden = gate * torch.sigmoid(gate) * _linear(inner, block, "mlp.w2")
        x = x + _linear(_layer_norm(hidden, block, "mlp.ffn_ln"), block, "mlp.w3")
    return x.permute(0, 3, 1, 2)


def _rotary_attention(
    x: Tensor, block: State, heads: int, window: int | None, trained: int
) -> Tensor:
    """(B,H,W,C), attention in the whole map or in windows, each by itself, filled with zeros."""
    _, height, width, _ = x.shape
    tall, wide = (window, window) if window else (height, width)
    out = torch.zeros_like(x)
    for top in range(0, height, tall):
        for left in range(0, width, wide):
            part = x[:, top : top + tall, left : left + wide]
            seen = part.new_zeros(len(x), tall, wide, x.shape[-1])
            seen[:, : part.shape[1], : part.shape[2]] = part
            given = _window_attention(seen, block, heads, trained)
            out[:, top : top + tall, left : left + wide] = given[
                :, : part.shape[1], : part.shape[2]
            ]
    return out


def _window_attention(x: Tensor, block: State, heads: int, trained: int) -> Tensor:
    batch, tall, wide, channels = x.shape
    tokens = x.reshape(batch, tall * wide, channels)
    q = tokens @ block["attn.q_proj.weight"].T + block["attn.q_bias"]
    k = tokens @ block["attn.k_proj.weight"].T
    v = tokens @ block["attn.v_proj.weight"].T + block["attn.v_bias"]
    q, k, v = (t.reshape(batch, -1, heads, channels // heads).transpose(1, 2) for t in (q, k, v))
    q, k = (_rotated(t, tall, wide, trained) for t in (q, k))
    weights = (q @ k.transpose(-1, -2) / (channels // heads) ** 0.5).softmax(-1)
    mixed = (weights @ v).transpose(1, 2).reshape(batch, tall, wide, channels)
    return mixed @ block["attn.proj.weight"].T + block["attn.proj.bias"]


def _rotated(t: Tensor, tall: int, wide: int, trained: int) -> Tensor:
    """Pairs of channels turned: the first half by the row, the second by the column."""
    half = t.shape[-1] // 2
    rates = 1 / 10000 ** (torch.arange(0, half, 2).double() / half)
    rows = torch.arange(tall).double().repeat_interleave(wide) / tall * trained
    columns = torch.arange(wide).double().repeat(tall) / wide * trained
    angles = torch.cat([rows[:, None] * rates, columns[:, None] * rates], dim=1)
    turned = torch.view_as_complex(t.reshape(*t.shape[:-1], -1, 2).contiguous())
    turned = turned * torch.polar(torch.ones_like(angles), angles)
    return torch.view_as_real(turned).reshape(t.shape)


def internvit(state: State, pixels: Tensor, *, patch: int, heads: int) -> Tensor:
    """(B,3,h,w) normalised pixels of the trained size -> (B,C,H,W), by the published names."""
    net = {k: t.double() for k, t in state.items()}
    patches = torch.nn.functional.conv2d(
        pixels.double(),
        net["embeddings.patch_embedding.weight"],
        net["embeddings.patch_embedding.bias"],
        stride=patch,
    )
    first = net["embeddings.class_embedding"].expand(len(pixels), -1, -1)
    x = torch.cat([first, patches.flatten(2).transpose(1, 2)], 1)
    x = x + net["embeddings.position_embedding"]
    for n in range(1 + max(int(k.split(".")[2]) for k in net if k.startswith("encoder."))):
        layer = {k.removeprefix(f"encoder.layers.{n}."): t for k, t in net.items()}
        q, k, v = (_rms_norm(x, layer["norm1.weight"]) @ layer["attn.qkv.weight"].T).chunk(3, -1)
        q, k = _rms_norm(q, layer["attn.q_norm.weight"]), _rms_norm(k, layer["attn.k_norm.weight"])
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        mixed = (weights @ v).transpose(1, 2).flatten(2)
        x = x + layer["ls1"] * _linear(mixed, layer, "attn.proj")
        inner = _linear(_rms_norm(x, layer["norm2.weight"]), layer, "mlp.fc1")
        inner = inner * 0.5 * (1 + torch.erf(inner / 2**0.5))
        x = x + layer["ls2"] * _linear(inner, layer, "mlp.fc2")
    return x[:, 1:].transpose(1, 2).reshape(patches.shape)


def _linear(x: Tensor, state: State, name: str) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def _layer_norm(x: Tensor, state: State, name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def _rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight
