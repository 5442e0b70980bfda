"""`gl.special` is `scipy.special`: values, special values, dtypes, derivatives, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special as sp

Array = NDArray[Any]
RNG = np.random.default_rng(0)


def wide(low: float, high: float, n: int = 120, negative: float = 0) -> Array:
    """Numbers of all sizes from 10**low to 10**high, and some evenly below 0 that are no poles."""
    below = -RNG.uniform(0, negative, n)
    below = below[np.abs(below - np.rint(below)) > 1e-3]
    return np.concatenate([10 ** RNG.uniform(low, high, n), below if negative else []])


def about(a: Array, spread: float) -> Array:
    """Numbers about others: within some standard deviations of a gamma variable of shape a."""
    return np.abs(a + spread * RNG.normal(size=a.shape) * np.sqrt(a))


UNARY: dict[str, Array] = {
    "gammaln": wide(-10, 300, negative=40),
    "gamma": np.concatenate([wide(-10, 2.2, negative=60), RNG.uniform(0, 171, 100)]),
    "digamma": wide(-10, 300, negative=40),
    "erf": wide(-10, 1, negative=6),
    "erfc": wide(-10, 1.42, negative=6),
    "erfcx": wide(-10, 20, negative=26),
    "erfinv": np.concatenate([RNG.uniform(-1, 1, 100), wide(-300, -1), 1 - wide(-15, -1)]),
    "erfcinv": np.concatenate([RNG.uniform(0, 2, 100), wide(-300, 0)]),
    "ndtr": RNG.uniform(-37, 9, 200),
    "ndtri": np.concatenate([RNG.uniform(0, 1, 100), wide(-300, -1), 1 - wide(-15, -1)]),
    "log_ndtr": np.concatenate([wide(-10, 0.8), -wide(-10, 100)]),
    "i0": wide(-10, 2.8, negative=700),
    "i1": wide(-10, 2.8, negative=700),
    "i0e": wide(-10, 300, negative=100),
    "i1e": wide(-10, 300, negative=100),
    "entr": wide(-300, 300, negative=3),
    "logit": np.concatenate([RNG.uniform(0, 1, 200), wide(-300, -1), 1 - wide(-15, -1)]),
    "expit": wide(-10, 2.8, negative=700),
    "log_expit": wide(-10, 300, negative=700),
    "gammasgn": wide(-10, 2, negative=20),
    "spence": wide(-10, 10),
    "exp1": wide(-10, 2.7),
    "factorial": wide(-10, 2.2, negative=3),
}
A, B = wide(-3, 3, 150), wide(-3, 3, 150)
BINARY: dict[str, tuple[Array, Array]] = {
    "betaln": (A, B),
    "beta": (wide(-3, 2, 150), wide(-3, 2, 150)),
    "gammainc": (np.tile(A, 2), np.concatenate([B, about(A, 2)])),
    "gammaincc": (np.tile(A, 2), np.concatenate([B, about(A, 2)])),
    "zeta": (np.concatenate([1 + B, np.full(30, 2.0), np.full(30, 5.0)]), np.concatenate([A, -RNG.uniform(0, 40, 60)])),
    "expn": (RNG.integers(0, 60, 150).astype(float), B),
    "xlogy": (A, B),
    "xlog1py": (A, B),
    "rel_entr": (A, B),
    "kl_div": (A, B),
}
ORDERS = (0, 1, 2, 7)
X = np.concatenate([RNG.uniform(0, 1, 150), A / (A + B)])
TERNARY: dict[str, tuple[Array, Array, Array]] = {"betainc": (np.tile(A, 2), np.tile(B, 2), X)}
TINY = 1e-290


def everything(values: dict[str, Any]) -> dict[str, Any]:
    """What all functions make of the arguments above."""
    found = {name: getattr(gl.special, name)(*parts) for name, parts in values.items() if name != "polygamma"}
    return found | {f"polygamma{n}": gl.special.polygamma(n, values["polygamma"][0]) for n in ORDERS}


def arguments(dtype: str) -> dict[str, tuple[Array, ...]]:
    table = {name: (x,) for name, x in UNARY.items()} | BINARY | TERNARY | {"polygamma": (UNARY["digamma"],)}
    with np.errstate(over="ignore"):
        return {name: tuple(x.astype(dtype) for x in parts) for name, parts in table.items()}


def of_scipy(values: dict[str, tuple[Array, ...]]) -> dict[str, Array]:
    doubles = {name: [x.astype("float64") for x in parts] for name, parts in values.items()}
    found = {name: getattr(sp, name)(*parts) for name, parts in doubles.items() if name != "polygamma"}
    return found | {f"polygamma{n}": sp.polygamma(n, doubles["polygamma"][0]) for n in ORDERS}


# Where SciPy itself has fewer digits than ours, or a zero below 0 has none to be compared by.
LOOSE = {
    "gammaln": 1e-11,
    "digamma": 1e-11,
    "betaln": 1e-11,
    "kl_div": 1e-10,
    "polygamma0": 1e-11,
    "polygamma2": 1e-11,
    "betainc": 1e-11,
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_values_are_scipys(dtype: str) -> None:
    values = arguments(dtype)
    with np.errstate(all="ignore"):
        expected = of_scipy(values)
    found = gl.compile(everything)(values)
    for name, theirs in expected.items():
        ours = found[name]
        assert ours.dtype == dtype
        limits = np.finfo(dtype)
        with np.errstate(over="ignore"):
            theirs = theirs.astype(dtype)
        held = np.abs(theirs) > (TINY if dtype == "float64" else limits.tiny)
        rtol = LOOSE.get(name, 3e-13) if dtype == "float64" else 3e-7
        assert np.abs(ours[~held]).max(initial=0) <= 1.01 * max(TINY, limits.tiny), name
        np.testing.assert_allclose(ours[held], theirs[held], rtol=rtol, err_msg=name)


SPECIAL = np.array([0, -1, -2, -0.5, -1.5, np.inf, -np.inf, np.nan, 1, 2, 0.5, 0.3, 1e-17, 1e300, -170.5, 200])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_special_values_are_scipys(dtype: str) -> None:
    with np.errstate(over="ignore"):
        x = SPECIAL.astype(dtype)
    found = gl.compile(lambda x: {name: getattr(gl.special, name)(x) for name in UNARY})(x)
    for name, ours in found.items():
        with np.errstate(all="ignore"):
            theirs = getattr(sp, name)(x.astype("float64")).astype(dtype)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12 if dtype == "float64" else 3e-7, atol=1e-300, err_msg=name)


def test_special_values_of_pairs_are_scipys() -> None:
    values = np.array([0, -1, -0.5, np.inf, np.nan, 1, 2, 0.3, 2.5, 1e-30, 1e30])
    a, x = (part.ravel() for part in np.meshgrid(values, values))
    names = [name for name in BINARY if name not in ("beta", "betaln", "zeta", "expn")]
    found = gl.compile(lambda a, x: {name: getattr(gl.special, name)(a, x) for name in names})(a, x)
    for name, ours in found.items():
        with np.errstate(all="ignore"):
            theirs = getattr(sp, name)(a, x)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-300, err_msg=name)


def test_poles_of_beta_and_zeta_are_scipys() -> None:
    a, b = np.array([0, 0, 2, np.inf, 1, -0.5, -2.5]), np.array([0, 2, 0, 2, np.inf, 2, 0.3])
    s, q = np.array([1, 2, 2, 2, 2.5, 0.5, 3, np.nan]), np.array([2, 0, -3, np.inf, -0.5, 1, -0.5, 1])
    beta, betaln, zeta = gl.compile(lambda a, b, s, q: (gl.special.beta(a, b), gl.special.betaln(a, b), sp.zeta(s, q)))(
        a, b, s, q
    )
    np.testing.assert_allclose(betaln, sp.betaln(a, b), rtol=1e-13)
    np.testing.assert_allclose(beta, sp.beta(a, b), rtol=1e-13)
    np.testing.assert_allclose(zeta, sp.zeta(s, q), rtol=1e-13)


def test_limits_of_betainc_are_scipys() -> None:
    values = [0, 0.3, 2, np.inf, -1, np.nan]
    points = [(a, b, x) for a in values for b in values for x in (0, 0.3, 1, -1, 2, np.nan)]
    a, b, x = np.array(points, "float64").T
    np.testing.assert_allclose(gl.compile(gl.special.betainc)(a, b, x), sp.betainc(a, b, x), rtol=1e-13)


def test_large_parameters_keep_their_digits() -> None:
    # Where SciPy's sums end early: values of mpmath.
    a = np.array([1100669.1771267038, 365649.53234219365, 419533.54092076764])
    x = a + np.array([-12.871926094634452, -6.809244285417649, -2.127028593943014]) * np.sqrt(a)
    expected = [1.6343120498425655e-38, 4.116851933727477e-12, 0.016633476616731667]
    np.testing.assert_allclose(gl.compile(gl.special.gammainc)(a, x), expected, rtol=1e-9)


FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[Array, ...]]] = {
    **{name: (getattr(gl.special, name), (np.array([0.3, 0.62, 0.97]),)) for name in UNARY if name != "gammasgn"},
    "gammaln below": (gl.special.gammaln, (np.array([-0.4, -1.3, 12.0]),)),
    "digamma below": (gl.special.digamma, (np.array([-0.4, -1.3, 12.0]),)),
    "far bessel": (gl.special.i1e, (np.array([-20.0, 0.005, 12.0]),)),
    "far erfcx": (gl.special.erfcx, (np.array([-3.0, 60.0, 12.0]),)),
    "far log_ndtr": (gl.special.log_ndtr, (np.array([-60.0, -9.0, 7.0]),)),
    "expn": (lambda x: gl.special.expn(1, x), (np.array([0.3, 1.4, 20.0]),)),
    "about 1": (gl.special.spence, (np.array([0.98, 1.004, 3.0]),)),
    "polygamma": (lambda x: gl.special.polygamma(2, x), (np.array([0.3, -1.4, 20.0]),)),
    "multigammaln": (lambda x: gl.special.multigammaln(x, 3), (np.array([1.3, 4.0]),)),
    "betaln": (gl.special.betaln, (np.array([0.3, 4, 30]), np.array([2, 0.4, 50]))),
    "beta": (gl.special.beta, (np.array([0.3, 4, 3]), np.array([2, 0.4, 5]))),
    "gammainc": (gl.special.gammainc, (np.array([0.3, 4, 30, 2]), np.array([2, 0.4, 35, 20]))),
    "gammaincc": (gl.special.gammaincc, (np.array([0.3, 4, 30, 2]), np.array([2, 0.4, 35, 20]))),
    "betainc": (
        gl.special.betainc,
        (np.array([0.3, 4, 30, 2]), np.array([2, 0.4, 20, 0.7]), np.array([0.2, 0.9, 0.6, 0.3])),
    ),
    "xlogy": (gl.special.xlogy, (np.array([0.3, 4]), np.array([2, 0.4]))),
    "xlog1py": (gl.special.xlog1py, (np.array([0.3, 4]), np.array([2, 0.4]))),
    "rel_entr": (gl.special.rel_entr, (np.array([0.3, 4]), np.array([2, 3.9]))),
    "kl_div": (gl.special.kl_div, (np.array([0.3, 4]), np.array([2, 3.9]))),
    "logsumexp": (lambda a, b: gl.special.logsumexp(a, b=b), (np.array([0.3, 4]), np.array([2, -0.01]))),
    "softmax": (gl.special.softmax, (np.array([0.3, 4]),)),
}
ONCE = ("gammainc", "gammaincc", "betainc")
"""Functions whose derivatives in parameters are known, but not once more."""


def test_derivatives_are_those_of_finite_differences() -> None:
    def slopes(values: dict[str, Any], steps: dict[str, Any]) -> dict[str, Any]:
        found = {}
        for name, (function, _) in FUNCTIONS.items():
            first = gl.jvp(function, values[name], steps[name])[1]
            second = 0
            if name not in ONCE:
                second = gl.jvp(lambda *x: gl.jvp(function, x, steps[name])[1], values[name], steps[name])[1]  # noqa: B023
            found[name] = first, second
        return found

    values = {name: parts for name, (_, parts) in FUNCTIONS.items()}
    steps = {name: tuple(RNG.uniform(0.5, 1, x.shape) for x in parts) for name, parts in values.items()}
    found = gl.compile(slopes)(values, steps)
    names = {"far bessel": "i1e", "far erfcx": "erfcx", "far log_ndtr": "log_ndtr"}
    for name, parts in values.items():
        function = getattr(sp, names.get(name, name.split(" ")[0]), None)
        if name == "expn":
            function = sp.exp1
        if name == "about 1":
            function = sp.spence
        if name == "polygamma":
            function = lambda x: sp.polygamma(2, x)  # noqa: E731
        if name == "multigammaln":
            function = lambda x: np.array([sp.multigammaln(part, 3) for part in x])  # noqa: E731
        if name == "logsumexp":
            function = lambda a, b: sp.logsumexp(a, b=b)  # noqa: E731
        assert function is not None
        at = [function(*(x + k * 1e-3 * d for x, d in zip(parts, steps[name]))) for k in range(-3, 4)]
        first = np.tensordot([-1 / 60, 3 / 20, -3 / 4, 0, 3 / 4, -3 / 20, 1 / 60], at, 1) / 1e-3
        second = np.tensordot([1 / 90, -3 / 20, 3 / 2, -49 / 18, 3 / 2, -3 / 20, 1 / 90], at, 1) / 1e-6
        scale = np.abs(at).max()
        np.testing.assert_allclose(found[name][0], first, rtol=1e-7, atol=1e-11 * scale, err_msg=name)
        if name not in ONCE:
            np.testing.assert_allclose(found[name][1], second, rtol=1e-5, atol=1e-8 * scale, err_msg=name)


def test_derivatives_in_reverse_are_those_forward() -> None:
    for name in ("gammainc", "betainc", "beta", "log_ndtr"):
        function, parts = FUNCTIONS[name]
        gl.check_grads(function, parts, order=1)


def test_second_derivatives_of_incomplete_functions_are_known_in_x() -> None:
    a, b, x = np.array([2.0, 3]), np.array([1.5, 4]), np.array([0.3, 0.6])
    hessians = gl.compile(
        lambda a, b, x: (
            gl.hessian(lambda x: gl.special.gammainc(a, x).sum())(x),
            gl.hessian(lambda x: gl.special.betainc(a, b, x).sum())(x),
        )
    )(a, b, x)
    density = x ** (a - 1) * np.exp(-x) / sp.gamma(a)
    np.testing.assert_allclose(np.diag(hessians[0]), density * ((a - 1) / x - 1), rtol=1e-12)
    density = x ** (a - 1) * (1 - x) ** (b - 1) / sp.beta(a, b)
    np.testing.assert_allclose(np.diag(hessians[1]), density * ((a - 1) / x - (b - 1) / (1 - x)), rtol=1e-12)


def test_derivatives_at_edges_are_finite_where_they_are() -> None:
    def slopes(x: Any) -> Any:
        return (
            gl.grad(lambda x: gl.special.xlogy(x, 2.0))(x),
            gl.grad(lambda x: gl.special.xlogy(x, x))(x),
            gl.grad(lambda x: gl.special.gammainc(3.0, x))(x),
            gl.grad(lambda x: gl.special.gammainc(1.0, x))(x),
            gl.grad(lambda a: gl.special.gammainc(a, x))(2.0),
            gl.grad(gl.special.i1)(x),
            gl.grad(gl.special.i1e)(x),
            gl.grad(lambda x: gl.special.betainc(1.0, 3.0, x))(x),
            gl.grad(lambda a: gl.special.betainc(a, 3.0, x))(2.0),
        )

    found = gl.compile(slopes)(np.array(0.0))
    np.testing.assert_allclose(found, [np.log(2), 0, 0, 1, 0, 0.5, 0.5, 3, 0], rtol=1e-12)


def test_a_derivative_that_is_not_known_is_refused_where_it_is_asked_for() -> None:
    x = np.ones(3)
    for function, words in (
        (lambda a: gl.grad(lambda a: gl.special.zeta(a, 2.0).sum())(a), r"zeta\(x, q\) has no known derivative in x"),
        (lambda n: gl.grad(lambda n: gl.special.polygamma(n, 2.0).sum())(n), "no known derivative in x"),
        (lambda a: gl.hessian(lambda a: gl.special.gammainc(a, 2.0).sum())(a), "no known second derivative in a"),
        (lambda a: gl.hessian(lambda a: gl.special.betainc(a, a, 0.3).sum())(a), "no known second derivative in"),
        (lambda a: gl.jvp(lambda a: gl.special.zeta(a, 2.0), (a,), (a,)), "no known derivative in x"),
    ):
        with pytest.raises(NotImplementedError, match=rf"{words}.*; write gl\.stop_gradient.*test_special\.py:\d+"):
            gl.trace(function, x)


def test_scipys_ufuncs_of_traced_arrays_are_these() -> None:
    x = np.array([0.2, 0.7])
    names = [name for name in gl.special.__all__ if isinstance(getattr(sp, name), np.ufunc)]
    assert len(names) > 30
    for name in names:
        ufunc = getattr(sp, name)
        parts = [*[np.full(2, 2.0)] * (ufunc.nin - 1), x]
        graph = gl.trace(lambda *parts, ufunc=ufunc: ufunc(*parts), *parts)
        np.testing.assert_allclose(gl.interpret(graph, *parts)[0], ufunc(*parts), rtol=1e-13)
    with pytest.raises(
        gl.TracingError, match=r"scipy\.special\.gammaincinv is not traced: similar.*gl\.special\.gammainc"
    ):
        gl.trace(lambda x: sp.gammaincinv(2.0, x), x)


def test_functions_that_are_no_ufuncs_are_scipys() -> None:
    x = np.array([[0.5, 2, 3], [4, 0, 1]])
    ours = (
        gl.special.softmax(x, axis=1),
        gl.special.softmax(x),
        gl.special.log_softmax(x, 0),
        gl.special.logsumexp(x, axis=1, keepdims=True),
        gl.special.logsumexp(x, axis=0, b=np.array([[1.0, -2, 3]])),
        *gl.special.logsumexp(x, b=-x, return_sign=True),
        gl.special.multigammaln(x + 2, 3),
        gl.special.comb(np.array([5, 30, 3, 40]), np.array([2, 11, 4, 0])),
        gl.special.comb(5.5, np.array([2.0, 1.5])),
        gl.special.comb(np.array([4, 0]), np.array([2, 0]), repetition=True),
        gl.special.polygamma(np.array([0, 1, 4]), x + 1),
        gl.special.sinc(x),
    )
    with np.errstate(all="ignore"):
        theirs = (
            sp.softmax(x, axis=1),
            sp.softmax(x),
            sp.log_softmax(x, 0),
            sp.logsumexp(x, axis=1, keepdims=True),
            sp.logsumexp(x, axis=0, b=np.array([[1.0, -2, 3]])),
            *sp.logsumexp(x, b=-x, return_sign=True),
            np.array([[sp.multigammaln(v, 3) for v in row] for row in x + 2]),
            sp.comb(np.array([5, 30, 3, 40]), np.array([2, 11, 4, 0])),
            sp.comb(5.5, np.array([2.0, 1.5])),
            sp.comb(np.array([4, 0]), np.array([2, 0]), repetition=True),
            sp.polygamma(np.array([0, 1, 4]), x + 1),
            sp.sinc(x),
        )
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-12)


def test_dtypes_are_scipys() -> None:
    single, whole = np.ones(3, "float32"), np.ones(3, "int64")
    for arguments, dtype in (
        ((single, single), "float32"),
        ((whole, single), "float64"),
        ((whole, whole), "float64"),
        ((1, 2), "float64"),
        ((np.ones((2, 1)), single), "float64"),
    ):
        assert gl.special.gammainc(*arguments).dtype == sp.gammainc(*arguments).dtype == dtype
        assert gl.special.gammainc(*arguments).shape == np.shape(sp.gammainc(*arguments))
    # In SciPy, numbers of Python's are as wide as arrays here.
    assert gl.special.gammainc(2, single).dtype == gl.special.gammainc(single, 0.5).dtype == "float32"
    assert gl.special.gammaln(np.ones(2, "uint8")).dtype == "float64"
    assert gl.special.gammaln(single.astype(gl.numpy.bfloat16)).dtype == gl.numpy.bfloat16


def test_functions_are_fused_and_vectorized_over_examples() -> None:
    def function(a: Any, x: Any) -> Any:
        return gl.special.gammainc(a, x) * 2 + gl.special.gammaln(a)

    a, x = RNG.uniform(0.5, 3, (4, 5)), RNG.uniform(0.5, 3, 5)
    found = gl.compile(gl.vmap(function, in_axes=(0, None)))(a, x)
    np.testing.assert_allclose(found, sp.gammainc(a, x) * 2 + sp.gammaln(a), rtol=1e-13)


def test_what_is_refused_names_the_line_and_what_to_write() -> None:
    x = np.array([1.5, 2])
    cases: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
        (lambda x: gl.special.zeta(x), NotImplementedError, r"write zeta\(x, 1\)"),
        (lambda x: gl.special.factorial(x, exact=True), NotImplementedError, r"math\.factorial"),
        (lambda x: gl.special.comb(x, 2, exact=True), NotImplementedError, r"math\.comb"),
        (lambda x: gl.special.polygamma(-1, x), ValueError, "whole number of 0 or more, got -1"),
        (lambda x: gl.special.polygamma(0.5, x), ValueError, "whole number of 0 or more, got 0.5"),
        (lambda x: gl.special.multigammaln(x, 0), ValueError, "d is 1 or more, got 0"),
        (lambda x: gl.special.gammainc(x, np.ones(3)), gl.ShapeError, r"gl\.special\.gammainc: .* do not broadcast"),
        (
            lambda x: gl.special.gammaln(x * 1j),
            TypeError,
            r"gl\.special\.gammaln takes real numbers, got \(2,\) complex128; write it of x\.real",
        ),
        (lambda x: sp.gammaln(x, out=np.ones(2)), gl.TracingError, r"write y = scipy\.special\.gammaln"),
        (lambda x: sp.polygamma(1, x), gl.TracingError, r"write gl\.special\.polygamma\(\.\.\.\)"),
    ]
    for function, kind, words in cases:
        with pytest.raises(kind, match=rf"{words}.*test_special\.py:\d+"):
            gl.trace(function, x)
    with pytest.raises(ValueError, match=r"a is above \(d - 1\) / 2 = 1\.0"):
        gl.special.multigammaln(0.5, 3)
    with pytest.raises(AttributeError, match=r"gl\.special has no 'gamaln'; similar: gl\.special\.gammaln"):
        gl.special.gamaln  # pyright: ignore  # noqa: B018


@pytest.mark.peers
def test_derivatives_are_those_of_jax() -> None:
    jax = pytest.importorskip("jax")
    theirs = jax.scipy.special
    cases: dict[str, tuple[int, tuple[float, ...]]] = {
        **dict.fromkeys(("gammaln", "gamma", "digamma", "i0", "i1", "i0e", "i1e", "erfc", "erfinv"), (0, (0.7,))),
        **dict.fromkeys(("ndtri", "log_ndtr", "entr", "logit"), (0, (0.3,))),
        "gammainc": (0, (2.5, 3.0)),
        "gammaincc": (1, (2.5, 3.0)),
        "betainc": (2, (2.5, 1.5, 0.3)),
        "betaln": (1, (2.5, 3.0)),
        "zeta": (1, (2.5, 3.0)),
        "xlogy": (0, (0.0, 3.0)),
        "xlog1py": (1, (2.0, 3.0)),
        "rel_entr": (1, (2.0, 3.0)),
        "kl_div": (0, (2.0, 3.0)),
    }
    slopes = gl.compile(
        lambda: {n: gl.grad(getattr(gl.special, n), k)(*map(np.float64, x)) for n, (k, x) in cases.items()}
    )
    with jax.enable_x64(True):
        for name, slope in slopes().items():
            place, parts = cases[name]
            np.testing.assert_allclose(slope, jax.grad(getattr(theirs, name), place)(*parts), rtol=1e-9, err_msg=name)
