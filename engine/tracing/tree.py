"""`gradloom.tree`: pytrees, which are arrays in nested tuples, lists, dicts and what optree knows besides.

Names are those of `jax.tree`, and `ravel` is `jax.flatten_util.ravel_pytree`. Leaves may be traced arrays, NumPy's,
specs, or any other object; `None` is a tree without leaves. The values of a dict come in the order of its sorted keys.
"""

from __future__ import annotations

import builtins
import functools
import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import optree

from .. import array_api as xp
from .arrays import leaf_array
from .errors import ShapeError, TracingError, located
from .missing_names import attributes_of

__all__ = ["all", "flatten", "leaves", "map", "ravel", "reduce", "structure", "transpose", "unflatten"]

IsLeaf = Callable[[Any], bool] | None


def map(f: Callable[..., Any], tree: Any, *rest: Any, is_leaf: IsLeaf = None) -> Any:
    """`f` of every leaf of `tree`, with those of `rest` in its place.

    The trees of `rest` have the structure of `tree`, or go on below its leaves. Raises `ValueError` where they differ.
    """
    return optree.tree_map(f, tree, *rest, is_leaf=is_leaf)


def flatten(tree: Any, is_leaf: IsLeaf = None) -> tuple[list[Any], optree.PyTreeSpec]:
    """The leaves in their order, and the structure."""
    return optree.tree_flatten(tree, is_leaf=is_leaf)


def unflatten(treedef: optree.PyTreeSpec, leaves: Any) -> Any:
    """The tree of a structure and as many leaves as it has. Raises `ValueError` for another number."""
    return optree.tree_unflatten(treedef, leaves)


def leaves(tree: Any, is_leaf: IsLeaf = None) -> list[Any]:
    """The leaves in their order."""
    return optree.tree_leaves(tree, is_leaf=is_leaf)


def structure(tree: Any, is_leaf: IsLeaf = None) -> optree.PyTreeSpec:
    """The structure, which `unflatten` takes; two structures can be compared."""
    return optree.tree_structure(tree, is_leaf=is_leaf)


_NOTHING: Any = object()


def reduce(function: Callable[[Any, Any], Any], tree: Any, initializer: Any = _NOTHING, is_leaf: IsLeaf = None) -> Any:
    """`function` of what was reduced so far and the next leaf, over all leaves, beginning with `initializer`."""
    given = leaves(tree, is_leaf)
    return (
        functools.reduce(function, given) if initializer is _NOTHING else functools.reduce(function, given, initializer)
    )


def all(tree: Any, is_leaf: IsLeaf = None) -> bool:
    """Whether every leaf is true."""
    return builtins.all(leaves(tree, is_leaf))


def transpose(outer_treedef: optree.PyTreeSpec, inner_treedef: optree.PyTreeSpec, pytree_to_transpose: Any) -> Any:
    """A tree of the structure outer of trees of the structure inner, with inner outside.

    >>> import gradloom as gl
    >>> gl.tree.transpose(gl.tree.structure([0, 0]), gl.tree.structure({"a": 0}), [{"a": 1}, {"a": 2}])
    {'a': [1, 2]}
    """
    return optree.tree_transpose(outer_treedef, inner_treedef, pytree_to_transpose)


def ravel(tree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """All elements of a tree of arrays as one array of one axis, and the function that makes a tree of such an array.

    The array has the dtype that the leaves have in common, and `unravel` gives each leaf its own dtype back. Known
    elsewhere as `jax.flatten_util.ravel_pytree`. Raises `TypeError` for a leaf that is no array of numbers; `unravel`
    raises `ShapeError` for an array of another shape.

    >>> import gradloom as gl, numpy as np
    >>> flat, unravel = gl.tree.ravel({"w": np.ones((2, 2)), "b": 3.0})
    >>> flat.shape, unravel(flat * 2)["b"]
    ((5,), array(6.))
    """
    given, treedef = flatten(tree)
    arrays = [leaf_array(leaf) for leaf in given]
    shapes, dtypes = [tuple(x.shape) for x in arrays], [x.dtype for x in arrays]
    dtype = xp.result_type(*arrays) if arrays else np.dtype("float32")
    flat = xp.concatenate([xp.astype(xp.ravel(x), dtype) for x in arrays]) if arrays else np.zeros(0, dtype)

    def unravel(flat: Any) -> Any:
        whole = leaf_array(flat)
        sizes = [math.prod(shape) for shape in shapes]
        if tuple(whole.shape) != (sum(sizes),):
            raise ShapeError(located(f"unravel takes an array of shape {(sum(sizes),)}, got {tuple(whole.shape)}"))
        if whole.dtype != dtype:
            raise TracingError(located(f"unravel takes {dtype}, got {whole.dtype}; write flat.astype('{dtype}')"))
        ends = np.cumsum([0, *sizes])
        parts = [whole[int(begin) : int(end)] for begin, end in itertools.pairwise(ends)]
        return unflatten(treedef, [xp.astype(xp.reshape(p, s), d) for p, s, d in zip(parts, shapes, dtypes)])

    return flat, unravel


if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, __all__, "gl.tree")
__dir__ = __all__.copy
