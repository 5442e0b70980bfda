"""Pytrees: JAX's functions of them, on arrays of NumPy and on traced ones."""

from __future__ import annotations

import operator
from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest

TREE: Any = {"w": [np.ones((2, 2)), np.arange(3)], "b": (2.0, None)}


def test_functions_of_trees() -> None:
    leaves, treedef = gl.tree.flatten(TREE)
    assert len(leaves) == 3
    assert gl.tree.structure(TREE) == treedef
    assert gl.tree.structure(gl.tree.unflatten(treedef, [1, 2, 3])) == treedef
    assert gl.tree.unflatten(treedef, [1, 2, 3]) == {"b": (1, None), "w": [2, 3]}
    assert gl.tree.map(lambda x, y: np.sum(x) + y, TREE, gl.tree.unflatten(treedef, [1, 2, 3])) == {
        "b": (3, None),
        "w": [6, 6],
    }
    assert gl.tree.reduce(operator.add, [1, (2, 3)]) == 6
    assert gl.tree.reduce(lambda total, x: total + x, [1, (2, 3)], 10) == 16
    assert gl.tree.all({"a": True, "b": 1})
    assert not gl.tree.all([True, 0])
    assert gl.tree.leaves([(1, 2), 3], is_leaf=lambda x: isinstance(x, tuple)) == [(1, 2), 3]
    swapped = gl.tree.transpose(gl.tree.structure([0, 0]), gl.tree.structure((0, 0)), [(1, 2), (3, 4)])
    assert swapped == ([1, 3], [2, 4])
    with pytest.raises(ValueError, match="leaves"):
        gl.tree.unflatten(treedef, [1])


def test_a_ravelled_tree_comes_back_with_its_dtypes() -> None:
    flat, unravel = gl.tree.ravel(TREE)
    np.testing.assert_array_equal(flat, [2, 1, 1, 1, 1, 0, 1, 2])
    again = unravel(flat)
    assert again["w"][1].dtype == np.int64
    for x, y in zip(gl.tree.leaves(again), gl.tree.leaves(TREE)):
        np.testing.assert_array_equal(x, y)
    empty, nothing = gl.tree.ravel({})
    assert empty.shape == (0,)
    assert nothing(empty) == {}
    with pytest.raises(gl.ShapeError, match=r"takes an array of shape \(8,\), got \(7,\)"):
        unravel(flat[1:])
    with pytest.raises(TypeError, match="takes float64, got int64"):
        unravel(np.arange(8))
    with pytest.raises(TypeError, match="is not supported as an array"):
        gl.tree.ravel(["a"])


def test_ravel_is_traced_and_differentiable() -> None:
    def total(parameters: Any) -> Any:
        flat, unravel = gl.tree.ravel(parameters)
        return gnp.sum(flat**2) + gnp.sum(unravel(3 * flat)["w"])

    parameters = {"w": np.ones((2, 2)), "b": np.zeros(3)}
    gradient = gl.compile(gl.grad(total))(parameters)
    np.testing.assert_allclose(gradient["w"], np.full((2, 2), 5.0))
    np.testing.assert_allclose(gradient["b"], np.zeros(3))
