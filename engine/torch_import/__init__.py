"""Modules of torch as models: `gl.from_torch`. Torch is imported when that is called, and never before."""
