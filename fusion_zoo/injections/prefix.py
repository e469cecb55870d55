"""All visual tokens stand in the context, in the place of <image> (LLaVA, BLIP-2, Qwen-VL)."""

from fusion_zoo.injections import Injection


class Prefix(Injection):
    """Changes nothing. Liu et al. 2023 (LLaVA, arXiv 2304.08485), section 4.1."""
