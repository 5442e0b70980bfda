"""What `gl.random` draws has the distribution that it names, at fixed seeds; and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest
from scipy import special, stats

MANY = (20_000,)
INF = np.inf
MEAN, COVARIANCE = np.array([1.0, 2.0]), np.array([[2.0, 0.5], [0.5, 1.0]])


def drawn(make: Callable[[], Any], seed: int = 0) -> Any:
    with gl.random.key(seed):
        return make()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda d: gl.random.cauchy(MANY, d), stats.cauchy()),
        (lambda d: gl.random.logistic(MANY, d), stats.logistic()),
        (lambda d: gl.random.pareto(2.5, MANY, d), stats.pareto(2.5)),
        (lambda d: gl.random.rayleigh(2.0, MANY, d), stats.rayleigh(scale=2)),
        (lambda d: gl.random.weibull_min(2.0, 1.5, MANY, d), stats.weibull_min(1.5, scale=2)),
        (lambda d: gl.random.lognormal(0.5, MANY, d), stats.lognorm(0.5)),
        (lambda d: gl.random.maxwell(MANY, d), stats.maxwell()),
        (lambda d: gl.random.triangular(-1.0, 0.5, 2.0, MANY, d), stats.triang(0.5, -1, 3)),
        (lambda d: gl.random.chisquare(3.0, MANY, d), stats.chi2(3)),
        (lambda d: gl.random.f(3.0, np.full(MANY, 7.0), None, d), stats.f(3, 7)),
        (lambda d: gl.random.t(2.5, MANY, d), stats.t(2.5)),
        (lambda d: gl.random.generalized_normal(1.5, MANY, d), stats.gennorm(1.5)),
        (lambda d: gl.random.wald(1.5, MANY, d), stats.invgauss(1.5)),
        (lambda d: gnp.abs(gl.random.double_sided_maxwell(0.0, 2.0, MANY, d)), stats.maxwell(scale=2)),
        (lambda d: gl.random.multivariate_normal(MEAN, COVARIANCE, MANY, d)[:, 1], stats.norm(2, 1)),
        (lambda d: gl.random.uniform(MANY, d, -2, 3.0), stats.uniform(-2, 5)),
        (lambda d: gl.random.exponential(MANY, d), stats.expon()),
        (lambda d: gl.random.gumbel(MANY, d), stats.gumbel_r()),
        (lambda d: gl.random.laplace(MANY, d), stats.laplace()),
        (lambda d: gl.random.truncated_normal(-2, 2, MANY, d), stats.truncnorm(-2, 2)),
        (lambda d: gl.random.truncated_normal(1.5, INF, MANY, d), stats.truncnorm(1.5, INF)),
        (lambda d: gl.random.truncated_normal(-INF, -4, MANY, d), stats.truncnorm(-INF, -4)),
        (lambda d: gl.random.truncated_normal(6, 7, MANY, d), stats.truncnorm(6, 7)),
        (lambda d: gl.random.gamma(0.3, MANY, d), stats.gamma(0.3)),
        (lambda d: gl.random.gamma(1.0, MANY, d), stats.gamma(1)),
        (lambda d: gl.random.gamma(np.full(MANY, 30.0), None, d), stats.gamma(30)),
        (lambda d: gl.random.beta(0.5, 2, MANY, d), stats.beta(0.5, 2)),
        (lambda d: gl.random.dirichlet(np.array([0.5, 1, 1]), MANY, d)[:, 0], stats.beta(0.5, 2)),
    ],
    ids=[
        *("cauchy", "logistic", "pareto", "rayleigh", "weibull", "lognormal", "maxwell", "triangular", "chi-square"),
        *("F", "t", "generalized normal", "Wald", "two-sided Maxwell", "normal vectors"),
        "uniform",
        "exponential",
        "gumbel",
        "laplace",
        "truncated",
        "upper tail",
        "lower tail",
        "narrow",
        "gamma below 1",
        "gamma of 1",
        "gammas of an array",
        "beta",
        "dirichlet",
    ],
)
def test_floats_have_their_distribution(make: Callable[[str], Any], expected: Any, dtype: str) -> None:
    found = drawn(lambda: make(dtype), 12)
    assert found.dtype == dtype
    assert np.isfinite(found).all()
    assert stats.kstest(found.astype("float64"), expected.cdf).pvalue > 1e-3


def test_a_gamma_too_small_for_a_float_has_its_logarithm() -> None:
    found = drawn(lambda: gl.random.loggamma(1e-3, MANY))
    assert np.isfinite(found).all()
    assert stats.kstest(found.astype("float64"), stats.loggamma(1e-3).cdf).pvalue > 1e-3
    one, two = drawn(lambda: gl.random.beta(1e-3, 1e-3, MANY)), drawn(lambda: gl.random.beta(1e-3, 1e-3, MANY), 1)
    assert 0.45 < one.mean() < 0.55
    assert not np.array_equal(one, two)


def test_a_truncated_normal_far_out_has_an_exponential_tail() -> None:
    for dtype, low in (("float32", 20.0), ("float64", 60.0)):
        found = drawn(lambda dtype=dtype, low=low: gl.random.truncated_normal(low, INF, MANY, dtype))
        assert (found >= low).all()
        np.testing.assert_allclose((found - low).mean() * low, 1, atol=0.03)
        below = drawn(lambda dtype=dtype, low=low: gl.random.truncated_normal(-low - 1e-3, -low, MANY, dtype))
        assert below.max() <= -low
        assert below.min() >= np.asarray(-low - 1e-3, dtype)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_integers_are_even(dtype: str) -> None:
    for low, high in ((0, 6), (3, 11), (250, 256)):
        found = drawn(lambda low=low, high=high: gl.random.randint((3000,), low, high, dtype), 5)
        assert found.dtype == dtype
        counts = np.bincount(found - low, minlength=high - low)
        assert counts.size == high - low
        assert stats.chisquare(counts).pvalue > 1e-3


def test_integers_of_wide_ranges_are_even() -> None:
    wide = 3 * 2**61  # of a plain remainder the lower third would come twice as often
    found = drawn(lambda: gl.random.randint(MANY, -wide // 2, wide // 2))
    assert stats.kstest(found / wide, stats.uniform(-0.5, 1).cdf).pvalue > 1e-3
    powers = drawn(lambda: gl.random.randint((1000,), 0, 2**62))
    assert np.unique(powers).size == 1000


def test_integers_between_traced_bounds() -> None:
    low, high = np.array([0, 10, 5]), np.array([2, 20, 5])

    def f(low: Any, high: Any) -> Any:
        return gl.random.randint((500, 3), low, high)

    found = drawn(lambda: gl.compile(f)(low, high))
    assert (found.min(axis=0) == low).all()
    assert (found.max(axis=0) == [1, 19, 5]).all()


def test_truth_values() -> None:
    p = np.array([0.0, 0.25, 1.0])
    found = drawn(lambda: gl.random.bernoulli(p, (4000, 3)))
    np.testing.assert_allclose(found.mean(axis=0), p, atol=0.03)
    traced = drawn(lambda: gl.compile(lambda p: gl.random.bernoulli(p, (4000, 3)))(p))
    np.testing.assert_array_equal(traced, found)
    assert drawn(lambda: gl.random.bernoulli(p)).shape == (3,)
    assert drawn(gl.random.bernoulli).shape == ()


def test_categories() -> None:
    p = np.array([[0.1, 0.2, 0.7], [0.0, 1.0, 0.0]])
    with np.errstate(divide="ignore"):
        logits = np.log(p) + 3
    for dtype in ("float32", "float64"):
        found = drawn(lambda dtype=dtype: gl.random.categorical(logits.astype(dtype), shape=(6000, 2)))
        assert found.dtype == np.int64
        assert stats.chisquare(np.bincount(found[:, 0], minlength=3), 6000 * p[0]).pvalue > 1e-3
        assert (found[:, 1] == 1).all()
    assert drawn(lambda: gl.random.categorical(logits, axis=0)).shape == (3,)
    compiled = gl.compile(lambda logits: gl.random.categorical(logits, shape=(6000, 2)))
    np.testing.assert_array_equal(drawn(lambda: compiled(logits)), found)
    different = drawn(lambda: gl.random.categorical(np.zeros((2, 5)), shape=(4, 2), replace=False))
    assert all(len(set(column)) == 4 for column in different.T)


def test_orders_and_choices() -> None:
    x = np.arange(24).reshape(4, 6)
    whole = drawn(lambda: gl.random.permutation(x))
    np.testing.assert_array_equal(np.sort(whole, axis=0), x)
    assert not np.array_equal(whole, x)
    columns = drawn(lambda: gl.random.permutation(x, axis=1))
    assert (np.diff(columns, axis=0) == 6).all()
    each = drawn(lambda: gl.random.permutation(x, 1, independent=True))
    np.testing.assert_array_equal(np.sort(each, axis=1), x)
    assert not (np.diff(each, axis=0) == 6).all()
    first = drawn(lambda: gnp.stack([gl.random.permutation(4)[0] for _ in range(800)]))
    assert stats.chisquare(np.bincount(first)).pvalue > 1e-3
    some = drawn(lambda: gl.random.choice(x, (3,), replace=False, axis=1))
    assert some.shape == (4, 3)
    assert len(set(some[0])) == 3
    weighted = drawn(lambda: gl.random.choice(np.array([10.0, 20.0]), (2000,), p=np.array([0.25, 0.75])))
    np.testing.assert_allclose((weighted == 10).mean(), 0.25, atol=0.03)
    p = np.array([0, 0.1, 0, 0.2, 0.3, 0, 0.4, 0])
    known = drawn(lambda: gl.random.choice(8, (5000,), p=p))
    given = drawn(lambda: gl.compile(lambda p: gl.random.choice(8, (5000,), p=p))(p))
    for draws in (known, given):
        found = np.bincount(draws, minlength=8)
        assert not found[p == 0].any()
        assert stats.chisquare(found[p > 0], 5000 * p[p > 0]).pvalue > 1e-3
    assert drawn(lambda: gl.random.choice(3, (0, 2), p=np.ones(3) / 3)).shape == (0, 2)
    assert drawn(lambda: gl.vmap(lambda p: gl.random.choice(3, p=p))(np.eye(3))).tolist() == [0, 1, 2]
    assert drawn(lambda: gl.random.choice(5, (2, 3))).shape == (2, 3)


def test_draws_in_programs_are_those_outside() -> None:
    def f(a: Any) -> Any:
        return (
            gl.random.gamma(a, (5,), "float64"),
            gl.random.randint((4,), 0, 10),
            gl.random.truncated_normal(-1, a, (3,), "float64"),
            gl.random.permutation(6),
        )

    a = np.array(1.5)
    for one, other in zip(drawn(lambda: gl.compile(f)(a)), drawn(lambda: f(a)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_what_flows_back() -> None:
    low, high = np.array(-1.0), np.array(2.0)
    moved = drawn(lambda: gl.grad(lambda a: gnp.sum(gl.random.truncated_normal(a, high, (9,), "float64")))(low))
    step = 1e-6
    ahead, behind = (
        drawn(lambda a=a: gl.random.truncated_normal(a, high, (9,), "float64").sum()) for a in (low + step, low - step)
    )
    np.testing.assert_allclose(moved, (ahead - behind) / (2 * step), rtol=1e-6)
    assert np.isnan(drawn(lambda: gl.compile(lambda a: gl.random.gamma(a, (3,)))(np.array([-1.0, np.nan, 0.0])))).all()


def test_gammas_follow_their_shape_at_a_probability_that_stays() -> None:
    a = np.array([0.01, 0.1, 0.5, 1.0, 2.5, 30.0, 400.0])

    def draw(a: Any) -> Any:
        return gl.random.gamma(a, None, "float64")

    found, slope = drawn(lambda: gl.compile(lambda a: gl.jvp(draw, (a,), (np.ones(7),)))(a), 3)
    u, step = special.gammainc(a, found), 1e-5 * a
    expected = (special.gammaincinv(a + step, u) - special.gammaincinv(a - step, u)) / (2 * step)
    np.testing.assert_allclose(slope, expected, rtol=1e-6)
    # What is made of gammas follows too: the mean of a chi-square variable is its degrees of freedom.
    mean = drawn(lambda: gl.grad(lambda df: gnp.mean(gl.random.chisquare(df, MANY, "float64")))(np.array(3.0)))
    np.testing.assert_allclose(mean, 1, atol=0.03)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: gl.random.poisson(0.3, MANY), stats.poisson(0.3)),
        (lambda: gl.random.poisson(np.full(MANY, 900.0)), stats.poisson(900)),
        (lambda: gl.random.binomial(20, 0.3, MANY), stats.binom(20, 0.3)),
        (lambda: gl.random.binomial(1000, 0.999, MANY), stats.binom(1000, 0.999)),
        (lambda: gl.random.geometric(0.3, MANY), stats.geom(0.3)),
        (lambda: (gl.random.rademacher(MANY) + 1) // 2, stats.bernoulli(0.5)),
    ],
    ids=["few events", "many events", "successes", "hardly a failure", "trials", "signs"],
)
def test_counts_have_their_distribution(make: Callable[[], Any], expected: Any) -> None:
    found = drawn(make, 5)
    counts = np.arange(int(found.max()) + 2)
    shares = (found[:, None] <= counts).mean(axis=0)
    assert np.abs(shares - expected.cdf(counts)).max() < 1.95 / np.sqrt(found.size)  # Kolmogorov's bound of 1e-3


def test_counts_of_edges_and_of_what_is_no_parameter() -> None:
    def draw(zero: Any) -> Any:
        one = zero + 1
        return (
            *(gl.random.binomial(7, p, (3,)) for p in (zero, one)),
            gl.random.poisson(zero, (3,)),
            gl.random.geometric(one, (3,)),
            gl.random.poisson(-one, (3,)),
            gl.random.binomial(7, one + one, (3,)),
        )

    found = drawn(lambda: gl.compile(draw)(np.array(0.0)))
    for part, expected in zip(found, (0, 7, 0, 1, -1, np.nan), strict=True):
        np.testing.assert_array_equal(part, np.full(3, expected))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gl.random.poisson(-1.0), ValueError, "lam is 0 or more"),
        (lambda: gl.random.poisson(1.0, dtype="float32"), TypeError, "poisson draws integers"),
        (lambda: gl.random.binomial(3, 1.5), ValueError, "from 0 to 1, got 1.5"),
        (lambda: gl.random.binomial(-3, 0.5), ValueError, "n is 0 or more"),
        (lambda: gl.random.geometric(0.0), ValueError, "above 0 and at most 1"),
        (lambda: gl.random.t(np.array([1.0, 0.0])), ValueError, "df is above 0"),
        (lambda: gl.random.pareto(-1.0, (3,)), ValueError, "b is above 0"),
        (lambda: gl.random.multivariate_normal(np.ones(2), np.eye(3)), gl.ShapeError, r"mean \(\.\.\., n\) and cov"),
        (lambda: gl.random.multivariate_normal(np.ones(3), np.eye(3), method="svd"), NotImplementedError, "'cholesky'"),
        (lambda: gl.random.randint((2,), 3, 3), ValueError, "minval is below maxval, got 3 and 3"),
        (lambda: gl.random.randint((2,), 0, 300, "uint8"), OverflowError, "are no uint8"),
        (lambda: gl.random.randint((2,), -(2**63), 2**63 - 1), OverflowError, r"below 2\^63; gl.random.random_bits"),
        (lambda: gl.random.randint((2,), 0.5, 3), TypeError, "minval is an integer, got 0.5"),
        (lambda: gl.random.randint((2,), 0, 3, "float32"), TypeError, "int32, int64 or uint8, not float32"),
        (lambda: gl.random.uniform((2,), "int32"), TypeError, "random floats are float32 or float64"),
        (lambda: gl.random.uniform((2,), minval=2, maxval=1), ValueError, "minval is at most maxval"),
        (lambda: gl.random.bernoulli(1.5), ValueError, "a probability is from 0 to 1"),
        (lambda: gl.random.bernoulli(np.array([0.5, np.nan])), ValueError, "a probability is from 0 to 1"),
        (lambda: gl.random.truncated_normal(2, 1), ValueError, "lower is below upper"),
        (lambda: gl.random.gamma(0.0, (2,)), ValueError, "gamma: a is above 0, got 0.0"),
        (
            lambda: gl.random.gamma(np.ones(3), (2,)),
            gl.ShapeError,
            r"shape \(3,\) do not broadcast to the shape \(2,\)",
        ),
        (lambda: gl.random.beta(1.0, np.nan), ValueError, "beta: b is above 0"),
        (lambda: gl.random.dirichlet(1.0), ValueError, "alpha has an axis"),
        (lambda: gl.random.categorical(np.ones((2, 3)), shape=(3,)), gl.ShapeError, r"does not end with .* \(2,\)"),
        (lambda: gl.random.categorical(np.ones((2, 0))), ValueError, "there are no categories"),
        (lambda: gl.random.categorical(np.ones(3), shape=(4,), replace=False), ValueError, "4 draws that differ"),
        (lambda: gl.random.normal((2.5,)), TypeError, r"whole numbers of 0 or more, got \(2.5,\)"),
        (lambda: gl.random.gamma(1.0, -1), TypeError, "whole numbers of 0 or more, got -1"),
        (lambda: gl.random.permutation(-1), ValueError, "0 or more, got -1"),
        (lambda: gl.random.choice(3, (4,), replace=False), ValueError, "4 draws that differ from 3 entries"),
        (lambda: gl.random.choice(2, p=np.array([0.5, 0.7])), ValueError, "whose sum is 1"),
        (lambda: gl.random.choice(2, p=np.ones(3) / 3), gl.ShapeError, "an entry for each of 2 entries"),
    ],
)
def test_what_is_out_of_range_is_refused(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        drawn(call)


def test_draws_need_a_key() -> None:
    for call in (lambda: gl.random.gamma(1.0), lambda: gl.random.randint((2,), 0, 3), lambda: gl.random.permutation(3)):
        with pytest.raises(RuntimeError, match="needs a key"):
            call()
