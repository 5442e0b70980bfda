"""What writes each op as ONNX, a module a family; importing this enters all of them."""

from . import (
    contraction,
    control_flow,
    convolution,
    creation,
    elementwise,
    fourier,
    indexing,
    movement,
    reduction,
    windows,
)

__all__ = [
    "contraction",
    "control_flow",
    "convolution",
    "creation",
    "elementwise",
    "fourier",
    "indexing",
    "movement",
    "reduction",
    "windows",
]
