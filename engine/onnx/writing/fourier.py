"""Transforms of Fourier, which are not written: ONNX has them of complex numbers alone, as pairs of real ones."""

from __future__ import annotations

from ....ir.ops import fourier
from .emitter import Emitter, emits
from .symbolic_graph import SymbolicNode


@emits(fourier.fft, fourier.rfft, fourier.irfft)
def transform(e: Emitter, node: SymbolicNode) -> str:
    raise e.refusal("transforms of Fourier are not written; give what is transformed as an argument")
