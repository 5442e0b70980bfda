"""Functions for machines without a C library: NumPy's values, in Python and as code."""

import llvmlite.binding as llvm
import mpmath
import numpy as np
import pytest
from front_ends import called_code
from gradloom.runtime.codegen import gpu_math
from gradloom.runtime.codegen.gpu_math import GPU_MATH
from gradloom.runtime.codegen.kernel_cache import KernelRequest
from gradloom.runtime.codegen.natives import Machine
from gradloom.runtime.codegen.object_code import emit
from gradloom.runtime.codegen.python_to_llvm import Unsupported, lower
from gradloom.runtime.lowering.namespace import kernel_namespace

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 5e-324, 1e-310, 1e308, -1e308, 2.0, 1e19, 3e19, 0.5, 0.4375]
SPECIAL += [710.0, -720.0, 1e-8]
UNARY = {function: function.__name__ for function in gpu_math.UNARY}
EXACT = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arcsinh": "asinh", "arccosh": "acosh"}
EXACT |= {"arctanh": "atanh", "sinh": "sinh", "cosh": "cosh"}


def same(value, expected):
    """Whether two numbers are equal but for the last few bits, with the same sign."""
    if np.isnan(expected):
        return bool(np.isnan(value))
    return np.isclose(value, expected, rtol=1e-15, atol=0) and np.signbit(value) == np.signbit(expected)


@pytest.mark.parametrize("function", UNARY, ids=UNARY.get)
def test_a_function_is_within_a_few_ulp_of_the_exact_value(function):
    rng, reference = np.random.default_rng(0), getattr(np, UNARY[function])
    values = np.concatenate([rng.uniform(-1, 1, 60), rng.normal(size=40) * 10, 10.0 ** rng.uniform(-20, 20, 20)])
    with np.errstate(all="ignore"), mpmath.workdps(60):
        for x in values:
            expected = reference(x)
            if not np.isfinite(expected):
                assert same(float(function(x)), expected), x
                continue
            exact = getattr(mpmath, EXACT[UNARY[function]])(mpmath.mpf(float(x)))
            error = abs(mpmath.mpf(float(function(x))) - exact) / mpmath.mpf(float(np.spacing(abs(expected))))
            assert error < 3, x
        for x in map(np.float64, SPECIAL):
            assert same(float(function(x)), reference(x)), x


def test_functions_of_two_numbers_are_numpys_at_special_values_too():
    rng = np.random.default_rng(1)
    values = [np.float64(x) for x in (*SPECIAL, *rng.normal(size=12))]
    with np.errstate(all="ignore"):
        for x in values:
            for y in values:
                assert same(gpu_math.arctan2(x, y), np.arctan2(x, y)), (x, y)
                rest = np.fmod(x, y)
                assert np.array_equal(gpu_math.fmod(x, y), rest, equal_nan=True), (x, y)


def test_code_has_the_bits_of_python():
    machine = Machine("a machine without a C library", GPU_MATH)
    names = [f"np.{name}(x[0])" for name in UNARY.values()] + ["np.arctan2(x[0], x[1])", "np.fmod(x[0], x[1])"]
    source = "def kernel(b):\n    x, y = array_f64(word(b, 0), 0), array_f64(word(b, 1), 0)\n"
    source += "".join(f"    y[{i}] = {name}\n" for i, name in enumerate(names)) + "    return i64(0)\n"
    function = KernelRequest(source, "kernel", kernel_namespace).function()
    with pytest.raises(Unsupported, match="sinh"):  # a CPU has those of its C library, through Numba
        lower(function, "kernel")
    call = called_code(emit(llvm.parse_assembly(str(lower(function, "kernel", machine))), "kernel")[0])
    y = np.zeros(len(names))
    rng = np.random.default_rng(2)
    with np.errstate(all="ignore"):
        for x in [*rng.normal(size=(30, 2)) * 0.7, *np.array(SPECIAL[:16]).reshape(8, 2)]:
            call(x.ctypes.data, y.ctypes.data)
            expected = [function(x[0]) for function in UNARY]
            expected += [gpu_math.arctan2(x[0], x[1]), gpu_math.fmod(x[0], x[1])]
            np.testing.assert_array_equal(y, np.array(expected, np.float64))
