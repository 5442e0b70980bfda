"""Reductions that leave out NaN are NumPy's."""

from __future__ import annotations

import gradloom as gl
import numpy as np
import pytest
from like_numpy import check

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4, 5))
X[RNG.random(X.shape) < 0.4] = np.nan
X[0, :, 0] = np.nan

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_they_are_numpys(dtype: str) -> None:
    x = X.astype(dtype)
    for name in ("nansum", "nanprod", "nanmean", "nanvar", "nanstd", "nanmax", "nanmin"):
        for axis in (None, 0, 1, (0, 2)):
            check(lambda x, n=name, a=axis: (getattr(np, n)(x, axis=a), getattr(np, n)(x, axis=a, keepdims=True)), x)
    for name in ("nancumsum", "nancumprod"):
        check(lambda x, n=name: (getattr(np, n)(x), getattr(np, n)(x, axis=2)), x)
    check(lambda x: (np.nanargmax(x), np.nanargmin(x)), x)
    check(lambda x: (np.nanvar(x, axis=1, ddof=1), np.nanstd(x, axis=0, ddof=2)), x)


def test_integers_have_no_nan() -> None:
    x = RNG.integers(0, 4, (3, 3))
    check(lambda x: (np.nanmean(x, axis=0), np.nanmax(x), np.nansum(x), np.nanvar(x), np.nanargmin(x, axis=1)), x)


def test_derivatives_leave_it_out_too() -> None:
    known = np.nan_to_num(X[1], nan=0.5)
    gl.check_grads(lambda x: np.nanvar(x, axis=0).sum() + np.nanmean(x) + np.nanmax(x, axis=1).sum(), (known,), order=1)
    for f in (np.nansum, np.nanmean, np.nanstd, np.nanprod, np.nanmin):
        gradient = gl.grad(f)(X[1])
        assert np.isfinite(gradient).all()
        np.testing.assert_array_equal(gradient[np.isnan(X[1])], 0)
    np.testing.assert_array_equal(gl.grad(np.nanstd)(np.ones(3)), 0)
