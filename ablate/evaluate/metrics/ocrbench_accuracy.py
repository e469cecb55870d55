"""OCRBench's accuracy; lmms-eval divides by 1000 whatever was asked."""

from ablate.evaluate.metrics import MetricReader, given

READER = MetricReader(given, lambda held: len(held) / 1000)
