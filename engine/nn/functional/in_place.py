"""Activation functions that write into what they are given, under torch's names, which end in an underscore."""

from __future__ import annotations

from typing import Any

from .piecewise_activations import hardtanh, leaky_relu, relu, rrelu, threshold
from .smooth_activations import celu, elu, selu


def relu_(input: Any) -> Any:
    """`relu`, which `input` holds from here on."""
    return relu(input, inplace=True)


def hardtanh_(input: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """`hardtanh`, which `input` holds from here on."""
    return hardtanh(input, min_val, max_val, inplace=True)


def leaky_relu_(input: Any, negative_slope: float = 0.01) -> Any:
    """`leaky_relu`, which `input` holds from here on."""
    return leaky_relu(input, negative_slope, inplace=True)


def threshold_(input: Any, threshold: float, value: float) -> Any:
    """`threshold`, which `input` holds from here on."""
    return _threshold(input, threshold, value, inplace=True)


def rrelu_(input: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Any:
    """`rrelu`, which `input` holds from here on."""
    return rrelu(input, lower, upper, training, inplace=True)


def elu_(input: Any, alpha: float = 1.0) -> Any:
    """`elu`, which `input` holds from here on."""
    return elu(input, alpha, inplace=True)


def celu_(input: Any, alpha: float = 1.0) -> Any:
    """`celu`, which `input` holds from here on."""
    return celu(input, alpha, inplace=True)


def selu_(input: Any) -> Any:
    """`selu`, which `input` holds from here on."""
    return selu(input, inplace=True)


_threshold = threshold
