"""Discrete Fourier transforms, as products with matrices of sines and cosines."""

from __future__ import annotations

from typing import Any

import numpy as np

from .....ir import Array
from .... import array_api as xp
from ...dtypes import dtype_of
from ..operator import Call, operator


@operator("DFT", since=20, known=(1, 2))
def dft(call: Call, x: Any, length: Any = None, axis: Any = None, *, inverse: int = 0, onesided: int = 0) -> Any:
    """The last axis is (real, imaginary), or (real,)."""
    at = -2 if axis is None else call.number(axis, "the axis")
    return _transformed(call, x, length, at, inverse, onesided)


@operator("DFT", since=17, known=(1,))
def dft_along(call: Call, x: Any, length: Any = None, *, axis: int = 1, inverse: int = 0, onesided: int = 0) -> Any:
    return _transformed(call, x, length, axis, inverse, onesided)


def _transformed(call: Call, x: Any, length: Any, axis: int, inverse: int, onesided: int) -> Any:
    at = axis % x.ndim
    usual = 2 * (x.shape[at] - 1) if inverse and onesided else x.shape[at]
    n = usual if length is None else call.number(length, "the length")
    moved = xp.moveaxis(x, at, -2)
    real = moved[..., 0]
    imaginary = None if moved.shape[-1] == 1 else moved[..., 1]
    parts = (
        _real_inverse(real, imaginary, n) if inverse and onesided else _turned(real, imaginary, n, inverse, onesided)
    )
    return xp.moveaxis(xp.stack(parts, axis=-1), -2, at)


def _fitted(x: Any, n: int) -> Any:
    """The last axis cut off or filled up with zeros."""
    have = x.shape[-1]
    return x[..., :n] if have >= n else xp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, n - have)])


def _waves(rows: Array, columns: Array, n: int, dtype: Any) -> tuple[Array, Array]:
    angle = 2 * np.pi * (np.outer(rows, columns) % n) / n
    return np.cos(angle).astype(dtype), np.sin(angle).astype(dtype)


def _turned(real: Any, imaginary: Any, n: int, inverse: int, onesided: int) -> list[Any]:
    count = n // 2 + 1 if onesided else n
    cos, sin = _waves(np.arange(n), np.arange(count), n, real.dtype)
    sin = sin if inverse else -sin
    real = _fitted(real, n)
    parts = [xp.matmul(real, cos), xp.matmul(real, sin)]
    if imaginary is not None:
        imaginary = _fitted(imaginary, n)
        parts = [parts[0] - xp.matmul(imaginary, sin), parts[1] + xp.matmul(imaginary, cos)]
    return [part / n for part in parts] if inverse else parts


def _real_inverse(real: Any, imaginary: Any, n: int) -> list[Any]:
    """What has this one-sided transform: each frequency stands for its mirror image too."""
    count = n // 2 + 1
    twice = np.full(count, 2.0)
    twice[0] = 1.0
    if n % 2 == 0:
        twice[-1] = 1.0
    cos, sin = _waves(np.arange(count), np.arange(n), n, real.dtype)
    weight = (twice / n).astype(real.dtype)[:, None]
    result = xp.matmul(_fitted(real, count), cos * weight)
    return [result if imaginary is None else result - xp.matmul(_fitted(imaginary, count), sin * weight)]


@operator("STFT", known=(1, 3))
def stft(call: Call, x: Any, step: Any, window: Any = None, length: Any = None, *, onesided: int = 1) -> Any:
    """Transforms of windows `step` apart: (batch, windows, frequencies, 2)."""
    usual = x.shape[1] if window is None else window.shape[0]
    n, apart = usual if length is None else call.number(length, "frame_length"), call.number(step, "frame_step")
    count = 1 + (x.shape[1] - n) // apart
    places = np.arange(count)[:, None] * apart + np.arange(n)
    frames = xp.take(x if x.ndim == 3 else xp.expand_dims(x, -1), places, axis=1)
    frames = frames if window is None else frames * xp.reshape(window, (-1, 1))
    imaginary = None if frames.shape[-1] == 1 else frames[..., 1]
    return xp.stack(_turned(frames[..., 0], imaginary, n, 0, onesided), axis=-1)


@operator("MelWeightMatrix", known=(0, 1, 2, 3, 4))
def mel_weight_matrix(
    call: Call, bins: Any, length: Any, rate: Any, low: Any, high: Any, *, output_datatype: int = 1
) -> Any:
    """Triangles that add frequencies up to bins of the mel scale."""
    count, n = call.number(bins, "num_mel_bins"), call.number(length, "dft_length")
    ends = [float(call.known(each, "an edge").reshape(())) for each in (low, high)]
    first, last = (2595 * np.log10(1 + end / 700) for end in ends)
    mels = np.arange(count + 2) * (last - first) / (count + 2) + first
    hertz = 700 * (10 ** (mels / 2595) - 1)
    edges = ((n + 1) * hertz // call.number(rate, "sample_rate")).astype(int)
    result = np.zeros((n // 2 + 1, count))
    for i, (left, center, right) in enumerate(zip(edges, edges[1:], edges[2:])):
        if left == center:
            result[center, i] = 1
        else:
            result[left : center + 1, i] = np.arange(center + 1 - left) / (center - left)
        if right > center:
            result[center:right, i] = (right - np.arange(center, right)) / (right - center)
    return result.astype(dtype_of(output_datatype, f"{call.node.label}: the result"))
