"""Ways in which the language model takes visual tokens in, other than as a prefix, a file each.

Another package adds its own through the entry-point group `ablate.injections`.
"""

from fusion_zoo._registry import Registry

__all__ = ["INJECTIONS"]

INJECTIONS = Registry("injection", "ablate.injections", __name__)
