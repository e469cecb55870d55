"""The micro world: drawn scenes, and questions on them that mirror the benchmarks."""
