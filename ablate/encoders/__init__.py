"""Vision encoders: one file a family, found by its class, and their weights."""
