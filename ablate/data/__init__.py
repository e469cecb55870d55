"""Conversations and images: what they are, how they are prepared, read, tokenised and batched."""
