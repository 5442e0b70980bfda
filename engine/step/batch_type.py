"""The structure and the dtypes of the batches that a step takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optree

from ...ir import Array, ArrayType
from ..report.wording import listed
from ..tracing.errors import located
from ..tracing.trace import path_name


class BatchType:
    """What a batch must be like: a pytree of one structure, whose leaves have names, dtypes and numbers of axes."""

    def __init__(self, batch: Any, tree: optree.PyTreeSpec, types: Sequence[tuple[str, ArrayType]]) -> None:
        self._tree = tree
        self._types = types
        self._floats = [type(leaf) is float for leaf in optree.tree_leaves(batch)]

    @property
    def names(self) -> list[str]:
        """The names of the leaves."""
        return [name for name, _ in self._types]

    def leaves(self, batch: Any) -> list[Any]:
        """Raises `TypeError` for a batch of another structure."""
        try:
            leaves = self._tree.flatten_up_to(batch)  # takes a microsecond less than to find the structure
        except ValueError:
            leaves = None
        # Among what is no array there may be containers.
        if leaves is None or set(map(type, leaves)) != {np.ndarray}:
            if optree.tree_structure(batch) != self._tree:
                raise TypeError(located(_other_structure(self._types, self._tree, batch)))
            return optree.tree_leaves(batch)
        return leaves

    def as_one(self, count: int) -> str:
        """What to say of a batch that is given as `count` arguments."""
        entries = self._tree.entries()
        names = ("x", "y") if len(entries) == 2 else [f"x{i}" for i in range(len(entries))]
        if self._tree.type is list:
            one = f"step([{', '.join(names)}])"
        elif self._tree.type is tuple:
            one = f"step(({', '.join(names)}))"
        elif entries:
            one = f"step({{{', '.join(f'{key!r}: {key}' for key in entries)}}})".replace("'", '"')
        else:
            return f"a step takes its batch alone, which is one array, got {count} arguments"
        return f"a step takes its batch as one argument, got {count}; write {one}"

    def like(self, arrays: Sequence[Array | ArrayType]) -> Any:
        """A batch of specs for arrays of other shapes. Raises `TypeError` for other dtypes or numbers of axes."""
        for (name, wanted), array in zip(self._types, arrays):
            if array.dtype != wanted.dtype or array.ndim != wanted.ndim:
                got = f"{array.dtype} of shape {array.shape}"
                fix = f"; write {name}.astype('{wanted.dtype}')" if array.dtype != wanted.dtype else ""
                raise TypeError(
                    located(f"{name} is {got}, the step was compiled for {wanted.dtype} of shape {wanted.shape}{fix}")
                )
        like = [0.0 if is_float else ArrayType(a.shape, a.dtype) for a, is_float in zip(arrays, self._floats)]
        return optree.tree_unflatten(self._tree, like)


def _other_structure(types: Sequence[tuple[str, ArrayType]], tree: optree.PyTreeSpec, batch: Any) -> str:
    """What to say of a batch that is not of the structure the step was compiled for."""
    got = [path_name(("batch", *path)) for path in optree.tree_paths(batch)]
    missing = {name: t for name, t in types if name not in got}
    extra = [name for name in got if name not in dict(types)]
    for name, t in missing.items():
        if any(other.startswith(f"{name}.") for other in extra):
            return f"{name} is a container, the step was compiled for one array; write np.asarray(..., '{t.dtype}')"
    if not missing and not extra and {tree.type, type(batch)} == {tuple, list}:
        given, kind = ("list", "tuple") if tree.type is tuple else ("tuple", "list")
        return f"the batch is a {given}, the step was compiled for a {kind}; write step({kind}(batch))"
    if not missing and not extra:
        return f"the batch is {optree.tree_structure(batch)}, the step was compiled for {tree}"
    parts = [f"{what} {listed(names)}" for what, names in (("without", missing), ("with", extra)) if names]
    return f"the batch comes {' and '.join(parts)}; the step was compiled for {listed(name for name, _ in types)}"
