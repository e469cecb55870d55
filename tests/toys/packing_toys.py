"""FlexAttention on a CPU, where torch neither compiles its backward pass nor lets it learn."""

import pytest
from torch.nn.attention import flex_attention as flex
from transformers.integrations import flex_attention as integration


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is torch's plain mathematics of it, which goes by the mask of places, not by blocks."""
    monkeypatch.setattr(
        integration,
        "compile_friendly_flex_attention",
        lambda *parts, training, **options: flex.flex_attention(*parts, **options),
    )
    monkeypatch.setattr(flex, "_validate_device", lambda *parts: None)
