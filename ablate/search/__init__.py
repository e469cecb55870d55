"""Strategies: each proposes candidates from what the store holds, and writes down why."""
