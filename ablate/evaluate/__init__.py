"""Scoring a trained candidate with lmms-eval, and how sure its scores are."""
