"""Custom ops for tests: with rows and options, two results, integer inputs, scratch, and of elements."""

from __future__ import annotations

import math
from typing import Any

import gradloom as gl
import numpy as np


def softmax_vjp(cotangent: Any, result: Any, x: Any, *, temperature: float) -> Any:
    inner = (cotangent * result).sum(axis=1, keepdims=True)
    return (cotangent - inner) * result / temperature


@gl.custom_op(result=lambda x, temperature: x, rows=0, vjp=softmax_vjp)
def tempered_softmax(out, x, *, temperature=1.0):
    for i in range(x.shape[0]):
        top = x[i, 0]
        for j in range(x.shape[1]):
            top = max(top, x[i, j])
        total = 0.0
        for j in range(x.shape[1]):
            out[i, j] = math.exp((x[i, j] - top) / temperature)
            total += out[i, j]
        for j in range(x.shape[1]):
            out[i, j] /= total


def stencil_vjp(cotangent: Any, result: Any, x: Any, w: Any) -> Any:
    return stencil_gradients(cotangent, x, w)


@gl.custom_op(result=lambda x, w: x, vjp=stencil_vjp, flops=lambda x, w: 5 * x.size)
def stencil(out, x, w):
    """Each element with its two neighbours, by three weights."""
    n = x.shape[0]
    for i in range(n):
        out[i] = w[1] * x[i]
        if i > 0:
            out[i] += w[0] * x[i - 1]
        if i < n - 1:
            out[i] += w[2] * x[i + 1]


def stencil_gradients_vjp(cotangents: Any, results: Any, g: Any, x: Any, w: Any) -> Any:
    of_x, of_w = cotangents
    n = x.shape[0]
    along, values, given = (np.concatenate([v[:1] * 0, v, v[:1] * 0]) for v in (of_x, x, g))
    in_g = sum(along[k : n + k] * w[k] + values[k : n + k] * of_w[k] for k in range(3))
    in_x = sum(given[2 - k : n + 2 - k] * of_w[k] for k in range(3))
    return in_g, in_x, np.stack([(g * along[k : n + k]).sum() for k in range(3)])


@gl.custom_op(result=lambda g, x, w: (x, w), vjp=stencil_gradients_vjp)
def stencil_gradients(of_x, of_w, g, x, w):
    for i in range(x.shape[0]):
        of_x[i] = 0
    for k in range(3):
        of_w[k] = 0
    for j in range(x.shape[0]):
        for k in range(3):
            i = j + k - 1
            if i >= 0 and i < x.shape[0]:
                of_x[i] += g[j] * w[k]
                of_w[k] += g[j] * x[i]


def segment_sum_vjp(cotangent: Any, result: Any, values: Any, segments: Any, *, count: int) -> Any:
    return np.take(cotangent, segments, axis=0), None


@gl.custom_op(
    result=lambda values, segments, count: gl.spec((count, *values.shape[1:]), values.dtype), vjp=segment_sum_vjp
)
def segment_sum(out, values, segments, *, count):
    for k in range(count):
        for j in range(values.shape[1]):
            out[k, j] = 0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            out[segments[i], j] += values[i, j]


def gated_vjp(cotangent: Any, result: Any, x: Any, w: Any) -> Any:
    of_x, of_w = gated_gradients(cotangent, x, w)
    return of_x, of_w.sum(axis=0)


@gl.custom_op(result=lambda x, w: x, rows=0, vjp=gated_vjp, scratch=lambda x, w: gl.spec(x.shape[1:], x.dtype))
def gated(out, x, w, line):
    """The rows of x times w, by a line of scratch."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            line[j] = x[i, j] * w[j]
        for j in range(x.shape[1]):
            out[i, j] = line[j]


@gl.custom_op(result=lambda g, x, w: (x, x), rows=(0, 1))
def gated_gradients(of_x, of_w, g, x, w):
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            of_x[i, j] = g[i, j] * w[j]
            of_w[i, j] = g[i, j] * x[i, j]


def softplus(x):
    return math.log1p(math.exp(x))


def mish_vjp(cotangent: Any, result: Any, x: Any, *, scale: float) -> Any:
    t = np.tanh(np.log1p(np.exp(x)))
    return cotangent * (t + x * (1 - t * t) / (1 + np.exp(-x))) * scale


@gl.custom_op(elementwise=True, vjp=mish_vjp)
def scaled_mish(x, *, scale=1.0):
    """Mish (Misra 2019), times a number."""
    if x > 20:
        return x * scale
    return x * math.tanh(softplus(x)) * scale


@gl.custom_op(elementwise=True, result="bool")
def is_between(x, low, high):
    return low < x and x < high
