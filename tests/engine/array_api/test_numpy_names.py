"""Every public name of NumPy, of `numpy.linalg` and of its arrays is here, or it is said what to write instead."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest
from gradloom.engine.array_api.refused_names import REFUSED

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((4, 3)), RNG.standard_normal((3, 3))
N, M = np.array([12, -18, 0, 7, 2**40]), np.array([18, 12, 0, 21, 2**33])
ODD = np.array([0.0, -0.0, 1.0, 0.75, -8.0, 1e-310, 5e-324, 2.0**-1022, 1.7e308, np.inf, -np.inf, np.nan, 3.14])
SINGLE = np.array([0.0, 1.0, -0.1, 2.0**-126, 1e-44, 3e38, np.inf], np.float32)
BYTES = np.arange(30, dtype=np.uint8).reshape(2, 15) * 7


def public(module: Any) -> list[str]:
    return [name for name in dir(module) if not name.startswith("_")]


@pytest.mark.parametrize("ours", ["gradloom.numpy", "gradloom.numpy.linalg"])
def test_every_public_name_is_here_or_it_is_said_what_to_write_instead(ours: str) -> None:
    module, theirs = (gnp.linalg, np.linalg) if ours.endswith("linalg") else (gnp, np)
    assert not [name for name in public(theirs) if name not in module.__all__ and name not in REFUSED]
    for name in public(theirs):
        if name not in module.__all__:
            with pytest.raises(AttributeError, match="has no"):
                getattr(module, name)


def test_every_attribute_of_an_array_is_here_or_it_is_said_what_to_write_instead() -> None:
    missing: dict[str, str] = {}

    def f(x: Any) -> Any:
        for name in public(np.ndarray):
            try:
                getattr(x, name)
            except AttributeError as error:
                missing[name] = str(error)
        return x

    gl.trace(f, X)
    assert not [name for name, message in missing.items() if "outside and pass the result in" in message]


CALLS: dict[str, tuple[Any, ...]] = {
    "divisors": (lambda n, m: (np.gcd(n, m), np.lcm(n[:4], m[:4]), np.gcd(n, 6)), N, M),
    "bits": (lambda n: np.bitwise_count(n), np.array([0, 1, -1, 255, 2**62, -(2**63), 2**63 - 1])),
    "packed": (lambda b: (np.packbits(b), np.packbits(b, axis=1), np.packbits(b, 0, "little")), BYTES % 3 > 0),
    "unpacked": (lambda b: (np.unpackbits(b), np.unpackbits(b, 1, 19), np.unpackbits(b, 0, -3, "little")), BYTES),
    "number parts": (lambda x, y: (*np.frexp(x), *np.frexp(y), *np.modf(x), *np.modf(y)), ODD, SINGLE),
    "spacing": (lambda x, y: (np.spacing(x), np.spacing(y)), np.delete(ODD, 8), SINGLE[:-1]),
    "products": (lambda x, y: (np.matvec(x, y[0]), np.vecmat(x[:, 0], x), np.matvec(y, x[:, None])), X, Y),
    "tensors": (
        lambda a, b: (
            np.linalg.tensorsolve(a, b),
            np.linalg.tensorinv(a),
            np.linalg.tensorsolve(a[0, :, None, :3], b[0], (1,)),
        ),
        RNG.standard_normal((2, 3, 6)),
        RNG.standard_normal((2, 3)),
    ),
    "polynomials": (
        lambda p, q: (np.polyadd(p, q), np.polysub(q, p), np.polymul(p, q), *np.polydiv(p, q), *np.polydiv(q, p)),
        np.array([2.0, -1, 0.5, 3]),
        np.array([1.5, 2]),
    ),
    "calculus": (
        lambda p: (np.polyder(p), np.polyder(p, 5), np.polyint(p), np.polyint(p, 2, [1, 2]), np.polyint(p, 2, 3)),
        np.array([2.0, -1, 0.5, 3]),
    ),
    "fits": (
        lambda x, y: (
            np.polyfit(x, y, 2),
            np.polyfit(x, y[:, 0], 1, w=x),
            *np.polyfit(x, y, 1, cov=True),
            *np.polyfit(x, y[:, 0], 1, cov="unscaled"),
            *np.polyfit(x, y, 1, full=True),
        ),
        np.arange(1.0, 7),
        RNG.standard_normal((6, 2)),
    ),
    "axes": (lambda x: (np.apply_over_axes(np.sum, x, (0, 1)), np.apply_over_axes(np.cumsum, x, 1)), X),
    "diagonals": (lambda x: (np.diagflat(x[0], -1), x[:3][np.diag_indices_from(x[:3])]), X),
    "triangles": (lambda x: (x[np.tril_indices_from(x)], x[np.triu_indices_from(x, 1)]), X),
    "arrays": (lambda x: (gnp.asanyarray(x), gnp.ascontiguousarray(x[0, 0]), gnp.asfortranarray(x, "float32")), X),
    "equal": (lambda x: (np.array_equiv(x, x[:1]), np.array_equiv(x, x[0, :2]), np.array_equiv(x * 0, x[0] * 0)), X),
    "windows": (lambda x: x[:, 0] * np.hanning(4) + np.hamming(4) * np.kaiser(4, 2), X),
    "bessel": (lambda x: (np.i0(x), gnp.kaiser(5, x[0, 1]), gnp.kaiser(1, x[0, 1])), np.abs(X)),
    "more windows": (lambda x: x[:, 0] * gnp.bartlett(4) + gnp.blackman(4) - gnp.kaiser(4, 2.5), X),
}  # fmt: skip
"""Functions of NumPy, and their arguments."""


def as_tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def test_functions_give_numpys_numbers_and_dtypes_compiled_interpreted_and_of_arrays() -> None:
    with np.errstate(all="ignore"):
        expected = {name: as_tuple(call(*given)) for name, (call, *given) in CALLS.items()}

    def all_calls(arrays: dict[str, list[Any]]) -> dict[str, Any]:
        return {name: as_tuple(call(*arrays[name])) for name, (call, *_) in CALLS.items()}

    arrays = {name: given for name, (_, *given) in CALLS.items()}
    compiled = gl.compile(all_calls)(arrays)
    graph = gl.trace(all_calls, arrays)
    flat = iter(gl.interpret(graph, *gl.tree.leaves(arrays)))
    interpreted = {name: [next(flat) for _ in parts] for name, parts in sorted(compiled.items())}
    for name, parts in expected.items():
        for found in (compiled, interpreted):
            for one, other in zip(found[name], parts, strict=True):
                assert (np.shape(one), np.asarray(one).dtype) == (np.shape(other), np.asarray(other).dtype), name
                np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11, err_msg=name)


def test_joined_parts() -> None:
    def joined(x: Any) -> Any:
        return gnp.r_[x, 0, 1:4, 0:1:3j], gnp.c_[x, x], gnp.r_[x.reshape(3, 1), x.reshape(3, 1)]

    x = np.array([1.0, 2.0, 3.0], np.float32)
    for one, other in zip(
        gl.compile(joined)(x), (np.r_[x, 0, 1:4, 0:1:3j], np.c_[x, x], np.r_[x[:, None], x[:, None]])
    ):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(NotImplementedError, match=r"write np\.concatenate\(arrays, axis\)"):
        gnp.r_["0,2", x]


PLACED = np.array([[0.0, 3, 0], [1, 0, 2]])


def test_places_of_a_known_number() -> None:
    def places(x: Any) -> Any:
        found = gnp.nonzero(x, size=3), gnp.argwhere(x, size=4), gnp.flatnonzero(x > 0, size=2), gnp.nonzero(x, size=3)
        return *found, gnp.extract(x > 1, x, size=3, fill_value=-1), gnp.argwhere(x, size=5, fill_value=(7, 8))

    first, rows, two, again, values, filled = gl.compile(places)(PLACED)
    np.testing.assert_array_equal(first, np.nonzero(PLACED))
    np.testing.assert_array_equal(again, np.nonzero(PLACED))
    np.testing.assert_array_equal(rows, [*np.argwhere(PLACED), (0, 0)])
    np.testing.assert_array_equal(two, [1, 3])
    np.testing.assert_array_equal(values, [3, 2, -1])
    np.testing.assert_array_equal(filled, [*np.argwhere(PLACED), (7, 8), (7, 8)])
    for name in ("nonzero", "argwhere", "flatnonzero"):
        np.testing.assert_array_equal(getattr(gnp, name)(PLACED), getattr(np, name)(PLACED))
        with pytest.raises(TypeError, match=rf"np\.{name}: the shape of the result depends on values; write gl\.numpy"):
            gl.trace(getattr(np, name), PLACED)
    np.testing.assert_array_equal(gnp.extract(PLACED > 1, PLACED), np.extract(PLACED > 1, PLACED))
    assert gnp.argwhere(np.float64(2)).shape == np.argwhere(np.float64(2)).shape


def test_sets_of_a_known_number_of_elements() -> None:
    x, y = np.array([3, 1, 1, 5, 9, 2]), np.array([5, 5, 1, 4])
    for name in ("union1d", "intersect1d", "setdiff1d", "setxor1d"):
        ours, expected = getattr(gnp, name), getattr(np, name)(x, y)
        np.testing.assert_array_equal(ours(x, y), expected)
        n = len(expected)
        more, fewer = gl.compile(
            lambda x, y, ours=ours, n=n: (ours(x, y, size=n + 2, fill_value=-7), ours(x, y, size=1))
        )(x, y)
        np.testing.assert_array_equal(more, [*expected, -7, -7])
        np.testing.assert_array_equal(fewer, expected[:1])
        with pytest.raises(TypeError, match=rf"np\.{name}: the shape of the result depends on values"):
            gl.trace(getattr(np, name), x, y)
    np.testing.assert_array_equal(gnp.setdiff1d(x, y, True), np.setdiff1d(x, y, True))
    assert all(len(getattr(gnp, name)(x[:0], y[:0])) == 0 for name in ("union1d", "setdiff1d", "intersect1d"))


def test_derivatives_of_what_is_composed() -> None:
    q = np.array([1.5, 2.0])
    gl.check_grads(
        lambda p, q: sum((part**2).sum() for part in gnp.polydiv(p, q)), (np.array([2.0, -1, 0.5]), q), order=2
    )
    gl.check_grads(lambda x, y: (gnp.polyfit(x, y, 2) ** 2).sum(), (np.arange(1.0, 6), X[:, 0].repeat(2)[:5]), order=1)
    gl.check_grads(
        lambda a, b: (gnp.linalg.tensorsolve(a, b) ** 2).sum(), (RNG.standard_normal((2, 2, 4)), Y[:2, :2]), order=1
    )
    assert gl.grad(lambda x: gnp.frexp(x)[0].sum())(np.array([3.0]))[0] == 0.25


def test_what_a_function_does_not_take_is_said() -> None:
    for call, kind, message in (
        (lambda x: np.gcd(x, x), TypeError, r"np\.gcd takes integers"),
        (lambda x: np.unpackbits(x > 0), TypeError, "takes uint8"),
        (lambda x: np.packbits(x > 0, bitorder="no"), ValueError, "bitorder is 'big' or 'little'"),
        (lambda x: np.polyadd(x, x), gl.ShapeError, "coefficients have one axis"),
        (lambda x: np.polyfit(x[0], x[:, 0], 1), gl.ShapeError, r"np\.polyfit: x is \(m,\)"),
        (lambda x: np.polyint(x[0], 2, [1, 2, 3]), gl.ShapeError, "k has one element, or m = 2"),
        (lambda x: np.polyder(x[0], -1), ValueError, "m is 0 or more"),
        (lambda x: np.polyfit(x[:, 0], x[:, 1], 3, cov=True), ValueError, "cov takes more than 4 points"),
        (lambda x: np.diag_indices_from(x), gl.ShapeError, "axes of one length"),
        (lambda x: np.tril_indices_from(x[0]), gl.ShapeError, "arr is a matrix"),
        (lambda x: np.intersect1d(x, x, return_indices=True), gl.TracingError, r"write np\.searchsorted"),
        (lambda x: np.linalg.tensorsolve(x, x), gl.ShapeError, "the axes of a are those of b"),
        (lambda x: np.linalg.tensorinv(x, 1), gl.ShapeError, "the first 1 axes have as many elements"),
        (lambda x: np.extract(x[0] > 0, x), gl.ShapeError, "as many elements"),
        (lambda x: np.nonzero(x[0, 0]), gl.ShapeError, "one axis or more"),
        (lambda x: np.trim_zeros(x[0]), gl.TracingError, "its shape depends on values"),
    ):
        with pytest.raises(kind, match=message + r".*test_numpy_names\.py"):
            gl.trace(call, X)
    with pytest.raises(FloatingPointError, match="not finite"):
        gl.compile(gnp.asarray_chkfinite)(X * np.inf)
