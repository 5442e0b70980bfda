"""Every option of every function: traced, and at once for plain arrays, it gives what NumPy gives, or says that it is
not traced. What NumPy refuses is refused too.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import optree
import pytest

RNG = np.random.default_rng(0)
F32 = RNG.normal(size=(3, 4)).astype("float32")
F64 = RNG.normal(size=(3, 4))
I64 = RNG.integers(-5, 6, (3, 4))
I32 = I64.astype("int32")
U8 = RNG.integers(0, 9, (3, 4)).astype("uint8")
BOOL = RNG.random((3, 4)) < 0.5
CUBE = RNG.normal(size=(2, 3, 4)).astype("float32")
VECTOR = RNG.normal(size=5)
SQUARE = RNG.normal(size=(3, 3))
SCALAR = np.float32(1.5)
EMPTY = np.zeros((0, 3))

Call = tuple[tuple[Any, ...], dict[str, Any]]


def o(*args: Any, **kwargs: Any) -> Call:
    """Arguments behind the array."""
    return args, kwargs


MATRICES = [F32, I64, BOOL, U8]
MANY = [*MATRICES, CUBE, VECTOR, SCALAR, EMPTY]
AXES = [o(), o(axis=0), o(axis=-1), o(axis=()), o(axis=(0,)), o(axis=None, keepdims=True), o(axis=5), o(0)]
CUBE_AXES = [o(axis=(0, 2)), o(axis=(0, -1), keepdims=True), o(axis=(0, 0)), o(axis=(-3, 0)), o(axis=1.0)]
DTYPES = [o(dtype=d) for d in ("float64", "float32", "int64", "int32", "bool", "uint8", "float16", None)]
POSITIONS = [o(0, None), o(0, "float64"), o(0, None, None), o(0, None, None, True), o(0, out=None)]
WHERE = [o(where=F32 > 0), o(axis=1, where=F32 > 0, keepdims=True), o(where=F32)]
START = [o(initial=2), o(initial=-3, axis=1), o(initial=2.5), o(initial=0, where=F32 > 0, keepdims=True)]
SPREAD = [o(ddof=1), o(ddof=2.5, axis=0), o(ddof=100), o(correction=1), o(ddof=1, correction=1), o(0, None, None, 1)]
CASTS = [o(dtype="float64"), o(dtype="int32"), o(dtype="int32", casting="unsafe"), o(dtype="float32", casting="safe")]
CASTS += [o(casting="no"), o(casting="bogus"), o(dtype="bool"), o(order="C", subok=True), o(signature="dd->d")]

SORTS = [o(kind="stable"), o(0, "mergesort"), o(stable=True), o(kind="heap"), o(kind="bogus"), o(order="f")]
SORTS += [o(kind="stable", stable=True), o(kind=3), o(axis=1.5)]

CALLS: list[tuple[str, list[Any], list[Call]]] = [
    *((name, MANY, [*AXES, *DTYPES, *POSITIONS]) for name in ("sum", "prod", "mean")),
    *((name, [CUBE], CUBE_AXES) for name in ("sum", "prod", "mean", "max", "any", "std")),
    *(
        (name, [F32, I64, BOOL], [*WHERE, *START])
        for name in ("sum", "prod", "max", "min", "mean", "any", "all", "var")
    ),
    *((name, MANY, [*AXES, o(0, None), o(0, out=None)]) for name in ("amax", "argmax", "argmin", "ptp")),
    *((name, MANY, [*AXES, o(0, None), o(0, None, True)]) for name in ("max", "min", "any", "all")),
    *((name, [EMPTY], [o(initial=3), o(axis=0, initial=3), o(axis=1)]) for name in ("max", "min")),
    *((name, MANY, [*AXES, *DTYPES, *SPREAD, o(mean=0.0)]) for name in ("var", "std")),
    *((name, MANY, [o(), o(0), o(axis=-1), o(axis=None), o(axis=9), *SORTS]) for name in ("sort", "argsort")),
    ("median", [*MATRICES, CUBE, VECTOR, SCALAR], [*AXES, o(0, None), o(axis=(0, -1))]),
    ("cumprod", MANY, [o(), o(axis=0), o(axis=-1), o(axis=9), o(0, "float64"), *DTYPES]),
    ("cumulative_prod", MANY, [o(), o(axis=0), o(axis=-1, include_initial=True), o(include_initial=True)]),
    ("cumsum", MANY, [o(), o(axis=0), o(axis=-1), o(axis=9), o(0, "float64"), *DTYPES]),
    ("cumulative_sum", MANY, [o(), o(axis=0), o(axis=-1, include_initial=True), o(include_initial=True)]),
    ("count_nonzero", MATRICES, [o(), o(axis=0), o(axis=(0, 1)), o(axis=-1, keepdims=True)]),
    ("average", MATRICES, [o(), o(axis=0), o(axis=1, keepdims=True), o(weights=F64**2), o(axis=(0, 1))]),
    ("average", MATRICES, [o(axis=0, weights=np.arange(3)), o(axis=1, weights=np.ones(3)), o(returned=True)]),
    (
        "diff",
        [*MATRICES, CUBE, VECTOR, EMPTY],
        [
            o(),
            o(0),
            o(n=2),
            o(n=3),
            o(n=7),
            o(n=-1),
            o(axis=0),
            o(n=2, axis=0),
            o(prepend=0),
            o(append=0),
            o(n=0, prepend=0),
            o(n=0, append=1, axis=0),
            o(n=2, prepend=0, append=1),
            o(prepend=1.5),
            o(axis=5),
            o(1, 0),
            o(1, -1, 0),
            o(prepend=np.int64(3)),
            o(prepend=np.zeros((2, 2, 2, 2))),
            o(n=0, axis=9),
            o(n=1.5),
        ],
    ),
    ("diff", [F32], [o(prepend=F32[:, :2]), o(append=F32[:1], axis=0), o(append=F32[:, :0]), o(prepend=F32[:, :1])]),
    (
        "linspace",
        [SCALAR, np.float64(2), np.int64(3), VECTOR, F32],
        [o(10.0, 5), o(10.0), o(10.0, num=5, endpoint=False), o(10.0, num=5, retstep=True), o(10.0, num=5, axis=-1)]
        + [o(10.0, num=n, retstep=r) for n in (0, 1, -1, 2.5) for r in (False, True)]
        + [o(10.0, num=4, dtype=d) for d in ("float32", "int64")]
        + [o(10.0, num=1, endpoint=False, retstep=True)],
    ),
    (
        "reshape",
        [F32, VECTOR],
        [o(-1), o((-1,)), o((2, -1)), o(-1, "F"), o(shape=-1, order="A"), o((5, 5)), o((0, -1))],
    ),
    ("ravel", [F32, CUBE], [o(), o(order="K"), o(order="F"), o(order="X")]),
    ("transpose", [F32, CUBE], [o(), o((1, 0)), o(axes=(2, -3, 1)), o((0, 0)), o(None)]),
    ("flip", [F32, CUBE], [o(), o(axis=0), o(axis=(0, -1)), o(axis=5), o(axis=())]),
    ("roll", [F32, CUBE], [o(1), o(-7), o(2, 0), o((1, 2), (0, 0)), o((1, 2), 0), o(1, (0, -1)), o((1, 2)), o(1, 9)]),
    ("expand_dims", [F32], [o(0), o(-1), o((0, -1)), o(9), o((0, 0))]),
    (
        "repeat",
        [F32],
        [o(2), o(0), o(2, 0), o([1, 2, 0], 0), o([1, 2], 0), o(-1), o([2]), o(2.0), o(repeats=2, axis=1)],
    ),
    ("tile", [F32, SCALAR], [o(2), o((2, 1)), o((1, 2, 1, 2)), o(0), o(-1), o(())]),
    ("split", [F32], [o(1), o(3, 0), o([1]), o([1, 2], 1), o([2, 1]), o([-1]), o(7), o([9]), o(0)]),
    ("array_split", [F32], [o(2), o(3, 1), o(7), o([1], -1), o(0), o(-1), o([-1, 1])]),
    ("swapaxes", [CUBE], [o(0, -1), o(0, 9)]),
    ("moveaxis", [CUBE], [o(0, -1), o((0, 1), (-1, 0)), o((0, 0), (0, 1)), o(0, 9)]),
    ("squeeze", [CUBE[:1]], [o(), o(axis=0), o(axis=(0,)), o(axis=1), o(axis=()), o(axis=9)]),
    ("rot90", [F32, CUBE], [o(), o(k=2), o(k=-1), o(axes=(1, 0)), o(axes=(0, 0)), o(axes=(0, -1)), o(k=0)]),
    (
        "pad",
        [F32, I64],
        [o(1), o((1, 2)), o([(1, 2), (0, 1)]), o(0), o(-1), o(1.5), o({0: 1}), o({-1: (1, 2)})]
        + [o(1, mode) for mode in ("edge", "reflect", "symmetric", "wrap", "mean", "linear_ramp", "bogus")]
        + [o(5, "reflect"), o(5, "wrap"), o(1, "reflect", reflect_type="odd"), o(1, "edge", constant_values=1)]
        + [o(1, constant_values=v) for v in (3, (1, 2), 2.7, [(1, 2), (3, 4)])],
    ),
    ("broadcast_to", [F32], [o((2, 3, 4)), o((3,)), o((3, 4), True), o(shape=(1, 3, 4))]),
    ("copy", [F32], [o(), o("F"), o(order="C")]),
    ("diag", [F32, VECTOR], [o(), o(k=1), o(-2), o(k=9)]),
    ("diagonal", [F32, CUBE], [o(), o(offset=1), o(-9), o(axis1=1, axis2=0), o(axis1=0, axis2=0), o(1, -1, 0)]),
    ("trace", [F32, CUBE, BOOL], [o(), o(offset=1), o(axis1=1, axis2=0), o(dtype="float32"), o(0, 0, 1, "float64")]),
    *((name, [F32, VECTOR], [o(), o(k=1), o(-9), o(9)]) for name in ("tril", "triu")),
    *((name, [F32, I64], [o(), o(dtype="int32"), o(shape=(2,)), o(shape=2)]) for name in ("zeros_like", "ones_like")),
    ("full_like", [F32, I64], [o(3), o(2.7), o(3, "float32"), o(fill_value=np.nan), o(300, "uint8"), o(VECTOR[:4])]),
    ("nan_to_num", [F32, I64], [o(), o(nan=1), o(posinf=3), o(copy=False), o(True, 2.0)]),
    ("round", [F32 * 100, I64], [o(), o(decimals=1), o(2), o(decimals=-1), o(8)]),
    (
        "clip",
        [F32, I64],
        [
            o(0, 1),
            o(None, 1),
            o(0, None),
            o(min=0),
            o(max=0.5, min=-0.5),
            o(a_min=0, a_max=1),
            o(1, 0),
            o(np.nan, 1),
            o(),
            o(0, 1, dtype="float64"),
            o(np.float64(0), np.float64(1)),
            o(0, 1, min=0),
            o(0, 1, None),
        ],
    ),
    ("astype", [F32], [o("float64"), o("int32", copy=False), o("bool"), o("float16")]),
    ("meshgrid", [VECTOR], [o(), o(np.arange(2)), o(np.arange(2), indexing="ij"), o(np.arange(2), sparse=True)]),
    ("meshgrid", [VECTOR], [o(np.arange(2), indexing="zz"), o(copy=False)]),
    ("take", [F32], [o([0, -1], 0), o([0, 1]), o([[0], [1]], axis=-1), o([9], 0), o(0), o([]), o([0.5])]),
    ("take", [F32], [o([9, -9], 0, mode=m) for m in ("clip", "wrap", "raise", "bogus")] + [o([9], 0, None, "clip")]),
    ("take_along_axis", [F32], [o(I64 * 0, 0), o(I64 * 0), o(np.zeros(6, int), None), o(I64 * 0 - 1, axis=1)]),
    ("where", [BOOL], [o(F32, 0), o(1, 2), o(), o(F32)]),
    *((name, [F32, I32, BOOL], [o(F64), *(o(I64, **k) for _, k in CASTS)]) for name in ("add", "less", "power")),
    *((name, [F32, I32, BOOL], [o(F64, **k) for _, k in CASTS]) for name in ("divide", "maximum", "hypot", "fmod")),
    *((name, [I32, BOOL], [o(I64, **k) for _, k in CASTS]) for name in ("logical_and", "bitwise_and", "remainder")),
    *((name, [F32, I32, U8, BOOL], [o(), *CASTS]) for name in ("exp", "negative", "isnan", "logical_not", "floor")),
    *((name, [F32, I32, U8, BOOL], [o(), *CASTS]) for name in ("sqrt", "log2", "absolute", "sign")),
    *((name, [F32], [o(where=BOOL), o(where=True)]) for name in ("exp", "negative")),
    *(
        (f"{name}.reduce", MATRICES, [*AXES, *WHERE, o(0, None, None, True), o(initial=1)])
        for name in ("add", "maximum")
    ),
    *(
        (f"{name}.reduce", [F32], [o(), o(axis=1)])
        for name in ("multiply", "minimum", "logical_and", "subtract", "fmax")
    ),
    *((f"{name}.outer", MATRICES, [o(I64[0]), o(SCALAR), o(I64[0], dtype="float64")]) for name in ("add", "less")),
    *((f"{name}.accumulate", MATRICES, [o(), o(axis=1), o(1), o(dtype="float64")]) for name in ("add", "maximum")),
    (
        "linalg.norm",
        [F32, VECTOR],
        [o(), o(axis=0), o(axis=-1, keepdims=True), o(keepdims=True), o(1, 0, True), o(axis=9)],
    ),
    (
        "linalg.norm",
        [F32, VECTOR],
        [o(ord=p, axis=a) for p in (0, 1, 2, 2.5, -1, np.inf, -np.inf, "fro") for a in (0, None)],
    ),
    (
        "linalg.vector_norm",
        [CUBE],
        [o(), o(axis=0), o(ord=1), o(ord=np.inf, axis=-1), o(keepdims=True), o(axis=(0, -1))],
    ),
    ("linalg.trace", [CUBE], [o(), o(offset=1), o(dtype="float64")]),
    ("linalg.outer", [VECTOR, F32], [o(VECTOR)]),
    ("linalg.tensordot", [F32], [o(F32.T, axes=1), o(F32, axes=0)]),
    ("linalg.vecdot", [F32], [o(F32), o(F32, axis=0)]),
    (
        "tensordot",
        [F32],
        [o(F32, axes=([0], [0])), o(F32, 0), o(F32, axes=(0, 0)), o(F32, axes=9), o(F32, axes=(-1, -1))],
    ),
    ("matmul", [F32], [o(F32.T), o(F32), o(2.0), o(F32.T, dtype="float64"), o(F64.T, casting="no"), o(F32.T, axes=[])]),
    *((name, [F32], [o(F32.T), o(2.0), o(F32), o(VECTOR[:4])]) for name in ("dot", "inner", "outer", "kron", "vdot")),
    ("isclose", [F32], [o(F32 + 1e-6, rtol=1e-3), o(F32, equal_nan=True), o(F32, 1e-5, 1e-8, True)]),
    ("heaviside", [F32], [o(0.5)]),
    ("float_power", [I64 + 6], [o(2), o(F32)]),
    ("divmod", [F32], [o(2), o(F64, dtype="float64")]),
]
JOINS: dict[str, Callable[..., Any]] = {
    name: lambda x, *args, name=name, np=np, **kwargs: getattr(np, name)((x, x), *args, **kwargs)
    for name in ("concatenate", "concat", "stack", "hstack", "vstack", "column_stack")
}
JOINED = [
    o(),
    o(dtype="float64"),
    o(dtype="int32"),
    o(dtype="int32", casting="unsafe"),
    o(dtype="float32", casting="safe"),
]
METHODS: dict[str, list[Call]] = {
    "sum": [o(), o(1), o(1, "float64"), o(1, None, None, True), o(where=F32 > 0), o(initial=2), o(out=F32)],
    "mean": [o(), o(0, "float64"), o(0, None, None, True), o(keepdims=True)],
    "std": [o(ddof=1), o(0, None, None, 1), o(0, None, None, 1, True), o(0, None, 1)],
    "var": [o(axis=(0, 1))],
    "max": [o(), o(0), o(0, None, True), o(initial=3), o(0, True)],
    "min": [o(), o(0), o(0, None, True, 1)],
    "any": [o(), o(0), o(0, None, keepdims=True)],
    "argmax": [o(), o(0), o(0, None, keepdims=True)],
    "cumsum": [o(), o(1), o(1, "float64", None)],
    "cumprod": [o(), o(1), o(1, "float64", None)],
    "argsort": [o(), o(0), o(None), o(0, "stable"), o(stable=True)],
    "clip": [o(0, 1), o(min=0), o(0, 1, None)],
    "round": [o(), o(1), o(1, None)],
    "reshape": [o(-1), o(2, -1), o((2, 6)), o(12, order="F")],
    "transpose": [o(), o(1, 0), o((1, 0)), o(None)],
    "take": [o([0]), o([0], 0), o([9], 0, None, "clip"), o([9], mode="wrap")],
    "trace": [o(), o(1), o(0, 0, 1, "float64")],
    "astype": [o("float64"), o("int32", copy=False), o("float64", "K", "unsafe"), o("int32", casting="safe")],
    "dot": [o(F32.T), o(F32.T, None)],
}
NOT_TRACED = {"subtract.reduce", "fmax.reduce"}


def outcome(call: Callable[[], Any]) -> list[np.ndarray] | None:
    """The arrays that a call gives; None where it raises."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return [np.asarray(leaf) for leaf in optree.tree_leaves(call())]
    except (TypeError, ValueError, IndexError, ArithmeticError, AttributeError):
        return None


def nearest_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype({"float16": "float32", "uint64": "int64"}.get(dtype.name, dtype.name))


def differs(got: list[np.ndarray] | None, wanted: list[np.ndarray] | None) -> str:
    """How a result differs from NumPy's; nothing where it is the same, or was refused."""
    if got is None:
        return ""
    if wanted is None:
        return "NumPy refuses it"
    if len(got) != len(wanted):
        return f"{len(got)} results for {len(wanted)}"
    for a, b in zip(got, wanted):
        if a.shape != b.shape or a.dtype != nearest_dtype(b.dtype):
            return f"{a.shape} {a.dtype} for {b.shape} {b.dtype}"
        tolerance = {"float64": 1e-12, "float16": 2e-3}.get(b.dtype.name, 3e-6)
        if not np.allclose(a.astype("float64"), b.astype("float64"), tolerance, tolerance, equal_nan=True):
            return f"{a} for {b}"
    return ""


def found(namespace: Any, path: str) -> Any:
    for name in path.split("."):
        namespace = getattr(namespace, name)
    return namespace


def check(label: str, function: Callable[..., Any], ours: Callable[..., Any] | None, array: Any, call: Call) -> bool:
    """Whether the call was traced; it is as in NumPy if so, and if it is made at once."""
    args, kwargs = call
    wanted = outcome(lambda: function(np.array(array), *args, **kwargs))
    traced = outcome(lambda: gl.interpret(gl.trace(lambda x: function(x, *args, **kwargs), np.asarray(array)), array))
    shown = f"{label} of {np.asarray(array).dtype}{np.shape(array)} with {args} {kwargs}"
    assert not (wrong := differs(traced, wanted)), f"{shown}: {wrong}"
    if ours is not None:
        at_once = outcome(lambda: ours(np.array(array), *args, **kwargs))
        assert not (wrong := differs(at_once, wanted)), f"{shown}, at once: {wrong}"
    return traced is not None


@pytest.mark.parametrize("name", sorted({name for name, _, _ in CALLS}))
def test_every_option_of_a_function_is_numpys(name: str) -> None:
    # A ufunc's own options are no arguments of ours: they come by NumPy.
    ours = None if "." in name or isinstance(getattr(np, name), np.ufunc) else getattr(gnp, name)
    traced = 0
    for _, arrays, calls in (row for row in CALLS if row[0] == name):
        for array in arrays:
            for call in calls:
                traced += check(name, found(np, name), ours, array, call)
    assert bool(traced) == (name not in NOT_TRACED)


@pytest.mark.parametrize("name", JOINS)
def test_every_option_of_joining_is_numpys(name: str) -> None:
    calls = [o()] if name == "column_stack" else JOINED
    calls = [*calls, o(axis=-1), o(axis=9)] if name in ("concatenate", "concat", "stack") else calls
    ours = lambda *args, **kwargs: JOINS[name](*args, np=gnp, **kwargs)  # noqa: E731
    assert sum(check(name, JOINS[name], ours, array, call) for array in (F32, I64, CUBE) for call in calls)


@pytest.mark.parametrize("name", METHODS)
def test_methods_take_their_arguments_in_numpys_order(name: str) -> None:
    method = lambda x, *args, **kwargs: getattr(x, name)(*args, **kwargs)  # noqa: E731
    assert sum(check(f"x.{name}", method, None, array, call) for array in (F32, I64) for call in METHODS[name])


def test_no_function_dispatches_to_itself() -> None:
    x = gl.spec((3,), "float64")
    for ours, theirs in ((gnp, np), (gnp.linalg, np.linalg)):
        for name in ours.__all__:
            function = getattr(ours, name)
            if function is getattr(theirs, name, None) and callable(function) and not isinstance(function, type):
                with pytest.raises(TypeError):
                    gl.trace(lambda x, function=function: function(x), x)


def test_what_our_functions_take_by_name_numpys_take_too() -> None:
    known = {"sum", "prod", "max", "min", "mean", "any", "all"}
    for name in known:
        mine, theirs = (set(inspect.signature(getattr(n, name)).parameters) for n in (gnp, np))
        assert mine - {"x"} <= theirs
