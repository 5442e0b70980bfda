"""`check_grads`: derivatives held against differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import optree

from ...ir import Array, is_complex, is_inexact, part_dtype
from .jvp import jvp
from .keywords import tells_keywords
from .trace import path_name
from .tracer import as_array, current_trace, located
from .transforms import vjp, with_floats

_TOLERANCES = {np.dtype("float32"): 1e-2, np.dtype("float64"): 1e-5}
_STEPS = {np.dtype("float32"): 2e-3, np.dtype("float64"): 1e-4}


@tells_keywords
def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int,
    modes: Sequence[str] = ("fwd", "rev"),
    atol: float | None = None,
    rtol: float | None = None,
    eps: float | None = None,
) -> None:
    """Compare the derivatives of `f` at `args`, up to `order`, with central differences, as
    `jax.test_util.check_grads`.

    Each mode, `"fwd"` (`jvp`) and `"rev"` (`vjp`), is compared along a random direction, and the derivatives of each
    again. Arguments and results are pytrees of floats or complex numbers. The tolerances are 1e-5 if all is float64 or
    complex128, and 1e-2 otherwise; the step of the differences, `eps`, is 1e-4, and 2e-3 otherwise.
    Raises `AssertionError` that says which derivative
    differs, where, and by how much.
    """
    if current_trace() is not None:
        raise TypeError(located("check_grads compares numbers; call it outside of what is traced"))
    if isinstance(modes, str) or any(mode not in ("fwd", "rev") for mode in modes):
        raise ValueError(located(f'check_grads: modes is a sequence of "fwd" and "rev", got {modes!r}'))
    if not isinstance(args, (tuple, list)):
        raise TypeError(located(f"check_grads: args is a tuple of the arguments, got {type(args).__name__}"))
    wrong = [leaf for leaf in optree.tree_leaves(cast(Any, args)) if not is_inexact(as_array(leaf).dtype)]
    if wrong:
        raise TypeError(located(f"check_grads: arguments are floats, got {wrong[0]!r}; close over what is none"))
    given = tuple(with_floats(arg, f"argument {i}") for i, arg in enumerate(args))
    _Check(modes, atol, rtol, eps).up_to(order, f, optree.tree_map(as_array, cast(Any, given)), "")


class _Check:
    def __init__(self, modes: Sequence[str], atol: float | None, rtol: float | None, eps: float | None) -> None:
        self.modes = modes
        self.atol, self.rtol, self.eps = atol, rtol, eps
        self.random = np.random.default_rng(0)

    def up_to(self, order: int, f: Callable[..., Any], args: Any, of: str) -> None:
        """Compare the derivatives of `f`, which is the derivative that `of` says, and those of its derivatives."""
        if order < 1:
            return

        def forward(primals: Any, tangents: Any) -> Any:
            return jvp(f, primals, tangents)

        def backward(*primals: Any) -> Any:
            result, pullback = vjp(f, *primals)
            return pullback(result)

        if "fwd" in self.modes:
            self.compare(f, args, "fwd", f"the jvp{of}")
            self.up_to(order - 1, forward, (args, args), f" of the jvp{of}")
        if "rev" in self.modes:
            self.compare(f, args, "rev", f"the vjp{of}")
            self.up_to(order - 1, backward, args, f" of the vjp{of}")

    def compare(self, f: Callable[..., Any], args: Any, mode: str, what: str) -> None:
        """Hold one derivative along one direction against differences."""
        direction = optree.tree_map(self.like, args)
        leaves = [as_array(leaf) for leaf in optree.tree_leaves(cast(Any, args))]
        dtype = min((part_dtype(leaf.dtype) for leaf in leaves), key=lambda d: d.itemsize, default=np.dtype("float64"))
        step = _STEPS[dtype] if self.eps is None else self.eps
        ahead, behind = (
            optree.tree_map(lambda x, v, sign=sign: x + np.asarray(sign * step, x.dtype) * v, args, direction)
            for sign in (1, -1)
        )
        expected = optree.tree_map(
            lambda a, b: (_wide(a) - _wide(b)) / (2 * step), f(*cast(Any, ahead)), f(*cast(Any, behind))
        )
        if mode == "fwd":
            _, found = jvp(f, tuple(cast(Any, args)), tuple(cast(Any, direction)))
        else:
            result, pullback = vjp(f, *cast(Any, args))
            cotangent = optree.tree_map(self.like, result)
            found = _inner(direction, pullback(cotangent))
            expected = _inner(expected, cotangent)
        self.assert_close(found, expected, dtype, what)

    def assert_close(self, found: Any, expected: Any, dtype: Any, what: str) -> None:
        paths, leaves, _ = optree.tree_flatten_with_path(found)
        for path, one, other in zip(paths, leaves, optree.tree_leaves(expected), strict=True):
            atol, rtol = (_TOLERANCES[dtype] if given is None else given for given in (self.atol, self.rtol))
            place = f" at {path_name(path)}" if path else ""
            message = located(f"{what}{place} differs from differences")
            np.testing.assert_allclose(_wide(one), other, rtol=rtol, atol=atol, err_msg=message)

    def like(self, x: Any) -> Array:
        """A random direction."""
        array = as_array(x)
        if not is_inexact(array.dtype):
            return np.zeros(array.shape, array.dtype)
        direction = self.random.normal(size=array.shape)
        if is_complex(array.dtype):
            direction = direction + 1j * self.random.normal(size=array.shape)
        return direction.astype(array.dtype)


def _wide(x: Any) -> Array:
    array = as_array(x)
    return array.astype(np.complex128 if is_complex(array.dtype) else np.float64)


def _inner(one: Any, other: Any) -> Array:
    pairs = zip(optree.tree_leaves(one), optree.tree_leaves(other), strict=True)
    return np.asarray(sum(float(np.vdot(_wide(x), _wide(y)).real) for x, y in pairs))
