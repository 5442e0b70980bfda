"""Quantiles, medians and partitions are NumPy's, with NaN and without, by every method; and their derivatives."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest
from like_numpy import check

pytestmark = pytest.mark.filterwarnings("ignore:All-NaN slice:RuntimeWarning")

RNG = np.random.default_rng(0)
METHODS = [
    "linear", "lower", "higher", "midpoint", "nearest", "inverted_cdf", "averaged_inverted_cdf", "closest_observation",
    "interpolated_inverted_cdf", "hazen", "weibull", "median_unbiased", "normal_unbiased",
]  # fmt: skip


def with_nan() -> np.ndarray:
    x = RNG.standard_normal((4, 6))
    x[0, 2] = x[1] = np.nan
    return x


@pytest.mark.parametrize("method", METHODS)
def test_quantiles_are_numpys_by_every_method(method: str) -> None:
    for x in (RNG.standard_normal((3, 7)), RNG.standard_normal((4, 6)).astype("float32"), RNG.integers(0, 9, (5, 4))):
        for q in (0.3, 1.0, np.array([0.0, 0.25, 0.5, 1.0])):
            for axis in (None, 0, (0, 1)):
                options: dict[str, Any] = {"axis": axis, "method": method, "keepdims": axis == 0}
                check(lambda x, q=q, options=options: np.quantile(x, q, **options), x)
    for axis in (None, 0, 1):
        check(lambda x, axis=axis: np.nanquantile(x, np.array([0.1, 0.8]), axis=axis, method=method), with_nan())


def test_the_rest_of_what_follows_from_the_order() -> None:
    x, whole = RNG.standard_normal((4, 6)), RNG.integers(0, 3, (3, 9))
    for axis in (None, 0, 1):
        check(lambda x, axis=axis: (np.nanmedian(x, axis=axis), np.median(x, axis=axis)), with_nan())
        check(lambda x, axis=axis: (np.percentile(x, [10, 50], axis=axis), np.nanpercentile(x, 30.0, axis)), x)
    check(lambda x: np.lexsort((x[0], x[1], x[2])), whole)
    np.testing.assert_array_equal(gnp.partition(whole, 3), np.sort(whole))
    np.testing.assert_array_equal(gnp.argpartition(whole, (0, 2), axis=0), np.argsort(whole, axis=0, kind="stable"))


def test_what_is_no_quantile_is_refused() -> None:
    x = gl.spec((5,))
    with pytest.raises(ValueError, match="quantiles are from 0 to 1, and percentiles to 100"):
        gl.trace(lambda x: np.percentile(x, 101), x)
    with pytest.raises(ValueError, match=r"np\.quantile: method is one of linear, .*, got 'mean'"):
        gl.trace(lambda x: gnp.quantile(x, 0.5, method="mean"), x)
    with pytest.raises(ValueError, match=r"np\.partition: kth is from -5 to 4, got 5"):
        gl.trace(lambda x: np.partition(x, 5), x)


def test_derivatives_go_to_the_elements_that_are_read() -> None:
    x = RNG.standard_normal((3, 7))
    weights = RNG.standard_normal((2, 3))

    def f(x: Any) -> Any:
        return (np.quantile(x, [0.2, 0.7], axis=1) * weights).sum() + np.nanmedian(x)

    gl.check_grads(f, (x,), order=1)
    one = gl.grad(lambda x: gnp.quantile(x, 0.5, method="higher"))(np.arange(4.0))
    np.testing.assert_array_equal(one, [0, 0, 1, 0])
