"""A function of NumPy arrays, and the same traced: values, shapes and dtypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import optree


def check(function: Callable[..., Any], *arrays: Any, same_dtype: bool = True) -> None:
    """`function` of plain arrays equals the interpreted trace of it; the graph verifies and its text reads back."""
    with np.errstate(all="ignore"):
        expected = optree.tree_leaves(function(*arrays))
    graph = gl.trace(function, *arrays)
    graph.verify()
    assert str(gl.parse(str(graph))) == str(graph)
    given = [a for a in optree.tree_leaves(arrays) if isinstance(a, (np.ndarray, np.generic))]
    results = gl.interpret(graph, *given)
    assert len(results) == len(expected)
    for result, wanted in zip(results, expected):
        wanted = np.asarray(wanted)
        assert result.shape == wanted.shape
        if same_dtype:
            assert result.dtype == wanted.dtype
        tolerance = {"float64": 1e-12, "float16": 1e-3}.get(wanted.dtype.name, 2e-6)
        np.testing.assert_allclose(result, wanted, rtol=tolerance, atol=tolerance)
