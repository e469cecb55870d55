"""What lmms-eval is given of a user's own benchmark: its task file, functions and metrics."""
