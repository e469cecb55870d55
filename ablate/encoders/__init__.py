"""Vision encoders: what exists (`registry`), one file a family, and their weights."""
