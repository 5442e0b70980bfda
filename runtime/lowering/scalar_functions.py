"""Functions that generated kernels call for one element, where an expression does not do.

They run in Python as they are, and become part of each kernel that calls them.
"""

import numpy as np


def integer_power(x, y):
    """`x ** y` of int64, wrapping around; a negative `y` gives the value truncated to an integer."""
    if y < 0:
        if x == 1:
            return np.int64(1)
        if x == -1:
            return np.int64(1) if y % 2 == 0 else np.int64(-1)
        return np.int64(0)
    result = np.int64(1)
    while y > 0:
        if y & 1:
            result = result * x
        x = x * x
        y = y >> 1
    return result


def integer_floor_divide(x, y):
    """`floor(x / y)` of int64; 0 where `y` is 0."""
    if y == 0:
        return np.int64(0)
    if y == -1:
        return -x
    return x // y


def integer_remainder(x, y):
    """`x - floor(x / y) * y` of int64; 0 where `y` is 0."""
    if y == 0 or y == -1:
        return np.int64(0)
    return x % y


def _float_remainder(x, y):
    if y == 0 or x != x or y != y or abs(x) == np.inf:
        return np.nan * x
    r = np.fmod(x, y)
    if r == 0:
        return np.copysign(r, y)
    return r + y if (r < 0) != (y < 0) else r


def _float_floor_divide(x, y):
    # As NumPy: from the remainder, so that it agrees with it, and rounded to the nearest integer.
    if y == 0:
        return np.float64(x / y)
    if x != x or y != y or abs(x) == np.inf:
        return np.nan * x
    r = np.fmod(x, y)
    quotient = np.float64((x - r) / y)
    if r != 0 and (r < 0) != (y < 0):
        quotient = quotient - 1
    if quotient == 0:
        return np.copysign(0 * quotient, x / y)
    whole = np.floor(quotient)
    return whole + 1 if quotient - whole > 0.5 else whole


def remainder_f32(x, y):
    """NumPy's `remainder` of float32."""
    return np.float32(_float_remainder(np.float32(x), np.float32(y)))


def remainder_f64(x, y):
    """NumPy's `remainder` of float64."""
    return _float_remainder(x, y)


def floor_divide_f32(x, y):
    """NumPy's `floor_divide` of float32."""
    return np.float32(_float_floor_divide(np.float32(x), np.float32(y)))


def floor_divide_f64(x, y):
    """NumPy's `floor_divide` of float64."""
    return _float_floor_divide(x, y)
