"""Derivatives of functions of arrays, for the tests of their values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import pytest

# Rows of many shapes are many kernels.
ONE_DTYPE_COMPILED = pytest.mark.parametrize(
    ("dtype", "how"), [("float32", "interpreted"), ("float64", "interpreted"), ("float32", "compiled")]
)


def both_orders(f: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, Any]]:
    def derivatives(x: Any) -> tuple[Any, Any]:
        first = gl.grad(lambda x: gnp.sum(f(x)))
        return first(x), gl.grad(lambda x: gnp.sum(first(x)))(x)

    return derivatives
