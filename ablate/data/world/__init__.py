"""The micro world: drawn scenes, words, charts and forms, with questions that mirror the benchmarks."""
