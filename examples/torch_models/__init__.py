"""Architectures of `transformers`, small and of random weights, beside torch."""
