"""Ways in which processes share a step, `infra.strategy`, told apart by what each process holds."""

SHARE_WEIGHTS = ("fsdp", "hsdp")
"""In these a process holds a share of each weight; in all others it holds a whole model."""
