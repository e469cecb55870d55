"""Makes the micro weights: a tiny language model and six small encoders, each on its own task."""
