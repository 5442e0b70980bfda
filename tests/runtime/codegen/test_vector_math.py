"""Element-wise functions of the runtime: accuracy, special values, and the same bits wherever they are computed."""

import math
import re
from fractions import Fraction
from functools import cache

import gradloom as gl
import numba
import numpy as np
import pytest
from gradloom.ir import OPS
from gradloom.runtime.codegen.numba_front_end import declare_natives
from gradloom.runtime.codegen.vector_math.functions import VECTOR_MATH
from numba import types
from numba.core.errors import TypingError

declare_natives()

KEYS = sorted(VECTOR_MATH)
UNARY = [key for key in KEYS if key[0] != "pow"]
DTYPES = ("float32", "float64")
POINTS = 40_000

PLAIN_LOOP = "for i in range(x.shape[0]): o[i] = {call}"
"""Vectorized: the function is all that the loop computes."""

BUSY_LOOP = """
    chain = o.dtype.type(0)
    for i in range(x.shape[0]):
        value = {call}
        chain = chain * o.dtype.type(0.5) + value
        o[i] = value
        p[i] = value * y[i] + chain
"""
"""Not vectorized, for the chain; and full of sums and products that a compiler might like to contract."""


@cache
def kernel(name, dtype, body=PLAIN_LOOP):
    function = VECTOR_MATH[name, dtype]
    call = f"{function.__name__}(x[i], y[i])" if name == "pow" else f"{function.__name__}(x[i])"
    namespace = {function.__name__: function}
    exec(f"def run(x, y, o, p):\n    {body.format(call=call)}", namespace)
    array = types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C")
    signature = types.void(array, array, array, array)
    return numba.njit(signature, error_model="numpy", nogil=True, boundscheck=False)(namespace["run"])


def native(name, x, y=None, body=PLAIN_LOOP):
    o, p = np.empty_like(x), np.empty_like(x)
    kernel(name, x.dtype.name, body)(x, x if y is None else y, o, p)
    return o


def spread(rng, dtype, low, high, count=POINTS):
    """Positive numbers of random exponent, 2**low to 2**high."""
    return np.ldexp(rng.uniform(1, 2, count), rng.integers(low, high, count)).astype(dtype)


def inputs(name, dtype):
    """Where the function is neither 0, constant nor infinite, densely; with small, and subnormal, arguments."""
    rng = np.random.default_rng(KEYS.index((name, dtype)))
    info = np.finfo(dtype)
    smallest = info.minexp - info.nmant
    reach = 1 if dtype == "float32" else 7.2
    signs = rng.choice([-1, 1], POINTS).astype(dtype)
    small = spread(rng, dtype, smallest, 0) * signs
    dense = np.linspace(-3, 3, POINTS).astype(dtype)
    if name in ("exp", "expm1", "sigmoid"):
        return np.concatenate([rng.uniform(-103 * reach, 88 * reach, POINTS).astype(dtype), dense, small])
    if name == "ndtr":
        return np.concatenate([rng.uniform(-15 if reach == 1 else -39, 9, POINTS).astype(dtype), dense, small])
    if name in ("tanh", "erf"):
        return np.concatenate([rng.uniform(-20, 20, POINTS).astype(dtype), dense, small])
    if name in ("log", "log2", "log10"):
        return np.concatenate([spread(rng, dtype, smallest, info.maxexp), np.abs(dense[dense != 0])])
    if name == "log1p":
        large, below = spread(rng, dtype, 0, info.maxexp), -spread(rng, dtype, -30, -1)
        return np.concatenate([large, below, dense[dense > -1], small])
    quarter_turns = rng.integers(0, 1 << (16 if dtype == "float32" else 30), POINTS) * (np.longdouble(np.pi) / 2)
    # The platform's long double knows pi to 66 bits, which do not do for a reference beyond.
    large = spread(rng, dtype, 0, 128 if dtype == "float32" else 62) * signs
    return np.concatenate([large, quarter_turns.astype(dtype), np.arange(POINTS).astype(dtype), dense, small])


def pow_inputs(dtype):
    rng = np.random.default_rng(7)
    info = np.finfo(dtype)
    x = [spread(rng, dtype, info.minexp - info.nmant, info.maxexp), rng.uniform(0.9, 1.1, POINTS)]
    y = [rng.uniform(-1.5, 1.5, POINTS), rng.uniform(-900, 900, POINTS)]
    x += [rng.uniform(-9, 9, POINTS).round(1), rng.uniform(0, 100, POINTS)]
    y += [rng.integers(-30, 30, POINTS), rng.integers(-20, 20, POINTS) / 2]
    return np.concatenate(x).astype(dtype), np.concatenate(y).astype(dtype)


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def erf(x):
    return np.array([math.erf(value) for value in x], dtype=x.dtype)


def ndtr(x):
    """In float64, as the reference of the op computes it."""
    return OPS["ndtr"].reference(x.astype(np.float64))


REFERENCES = {"sigmoid": sigmoid, "erf": erf, "ndtr": ndtr}


ROUNDED = {"erf": 1, "ndtr": 4.5}
"""Functions whose reference is in float64 at most, and the ulp by which it may be wrong there."""


def reference(name, *arguments):
    """In the next wider format: float64 for float32, the platform's long double for float64."""
    wider = np.float64 if arguments[0].dtype == np.float32 else np.longdouble
    with np.errstate(all="ignore"):
        return REFERENCES.get(name, getattr(np, "power" if name == "pow" else name, None))(
            *(argument.astype(wider) for argument in arguments)
        )


def ulp_errors(got, wanted):
    """|got - wanted| in units in the last place of got's dtype; 0 where both are the same infinity, or NaN."""
    info = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        rounded = wanted.astype(got.dtype)
        exponent = np.maximum(np.frexp(wanted)[1] - 1, info.minexp) - info.nmant
        errors = np.abs(got - wanted) / np.ldexp(np.ones_like(wanted), exponent)
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    errors = np.where(same & ~np.isfinite(got), 0, errors)
    return np.where(np.isnan(errors), np.inf, errors)


def bits(array):
    """As integers, with all NaNs alike."""
    return np.where(np.isnan(array), array.dtype.type(np.nan), array).view(f"i{array.itemsize}")


def bound(name, dtype):
    """The ulp that the docstring promises."""
    return float(re.match(r"Within ([\d.]+) ulp", VECTOR_MATH[name, dtype].__doc__)[1])


def slack(name, dtype):
    """The ulp by which the reference may be wrong."""
    return 0 if dtype == "float32" else ROUNDED.get(name, int(np.finfo(np.longdouble).nmant == 52))


@pytest.mark.parametrize(("name", "dtype"), KEYS)
def test_error_stays_within_the_documented_bound(name, dtype):
    arguments = pow_inputs(dtype) if name == "pow" else (inputs(name, dtype),)
    got = native(name, *arguments)
    errors = ulp_errors(got, reference(name, *arguments))
    worst = int(np.argmax(errors))
    assert errors[worst] <= bound(name, dtype) + slack(name, dtype), [argument[worst] for argument in arguments]


@pytest.mark.parametrize(("name", "dtype"), KEYS)
def test_documented_bound_is_a_few_ulp(name, dtype):
    assert 0.5 < bound(name, dtype) <= 4


SPECIAL = [0, math.inf, math.nan, 0.5, 1, 1.5, 2, 3, 4, 6, 10, 20, 1e3, 1e5, 2.0**17, 2.0**24, 1e12, 1e-5, 1e-20]


def special_values(dtype):
    info = np.finfo(dtype)
    steps = [np.nextafter(np.array(1, dtype), np.array(to, dtype)) for to in (0, 2)]
    values = [*SPECIAL, info.max, info.smallest_normal, info.smallest_subnormal, info.eps, *steps]
    limits = [88.72, 88.73, 103.9, 104, 709.78, 709.79, 745.1, 745.2]
    magnitudes = np.array([*values, *limits], dtype)
    return np.concatenate([magnitudes, -magnitudes])


@pytest.mark.parametrize(("name", "dtype"), UNARY)
def test_special_values_are_numpys(name, dtype):
    x = special_values(dtype)
    got, wanted = native(name, x), reference(name, x)
    assert np.all(ulp_errors(got, wanted) <= bound(name, dtype) + slack(name, dtype))
    numbers = ~np.isnan(got)
    np.testing.assert_array_equal(np.signbit(got[numbers]), np.signbit(wanted[numbers]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_pow_of_special_values_is_numpys(dtype):
    values = np.concatenate([special_values(dtype), np.array([1 / 3, -1 / 3, 2.5, -2.5, 7, -7], dtype)])
    x, y = (axis.ravel() for axis in np.meshgrid(values, values))
    got, wanted = native("pow", x.copy(), y.copy()), reference("pow", x, y)
    errors = ulp_errors(got, wanted)
    assert np.all(errors <= bound("pow", dtype)), (x[errors.argmax()], y[errors.argmax()])
    numbers = ~np.isnan(got)
    np.testing.assert_array_equal(np.signbit(got[numbers]), np.signbit(wanted[numbers]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_pow_of_small_integers_is_exact(dtype):
    x, y = (axis.ravel().astype(dtype) for axis in np.meshgrid(np.arange(-12, 13), np.arange(0, 7)))
    np.testing.assert_array_equal(native("pow", x, y), [float(int(a) ** int(b)) for a, b in zip(x, y)])


@pytest.mark.parametrize("dtype", DTYPES)
def test_log2_of_a_power_of_two_is_exact(dtype):
    info = np.finfo(dtype)
    exponents = np.arange(info.minexp - info.nmant, info.maxexp)
    np.testing.assert_array_equal(native("log2", np.ldexp(np.ones((), dtype), exponents)), exponents)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_underflows_gradually(dtype):
    info = np.finfo(dtype)
    x = np.linspace(math.log(float(info.smallest_normal)), math.log(float(info.smallest_subnormal)), 500).astype(dtype)
    got = native("exp", x)
    assert got[-1] > 0
    assert np.unique(got).size > 300
    assert np.all(np.diff(got) <= 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_log10_of_a_power_of_ten_is_exact(dtype):
    exponents = np.arange(-307 if dtype == "float64" else -37, 309 if dtype == "float64" else 39)
    powers = np.array([float(f"1e{n}") for n in exponents], dtype)
    np.testing.assert_array_equal(native("log10", powers), exponents)


TWO_OVER_PI = Fraction(
    int(
        "a2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561b7246e3a424dd2e006492eea09d1921cfe1deb1cb129a7"
        "3ee88235f52ebb4484e99c7026b45f7e413991d639835339f49c845f8bbdf9283b1ff897ffde05980fef2f118b5a0a6d1f6d367ecf27cb"
        "09b74f463f669e5fea2d7527bac7ebe5f17b3d0739f78a5292ea6bfb5fb11f8d5d0856033046fc7b6babf0cfbc209af4361da9e391615e"
        "e61b086599855f14a068408dffd8804d73273106061556ca73a8c9",
        16,
    ),
    1 << 1536,
)
"""To 1536 bits."""


def sine(x, quarter_turns=0):
    """sin(x + quarter_turns pi / 2), of the exact number x, correctly rounded but for a few in a thousand."""
    turns = Fraction(float(x)) * TWO_OVER_PI
    whole = round(turns)
    rest = (turns - whole) / TWO_OVER_PI
    odd = (whole + quarter_turns) % 2
    term = total = Fraction(1) if odd else rest
    for n in range(1, 13):
        term *= -rest * rest / ((2 * n - 1) * (2 * n) if odd else (2 * n) * (2 * n + 1))
        term = Fraction(round(term * 2**200), 2**200)
        total += term
    return float(total) * (-1 if (whole + quarter_turns) % 4 >= 2 else 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_trigonometry_is_right_up_to_the_largest_numbers(dtype):
    rng = np.random.default_rng(0)
    x = spread(rng, dtype, 16, 128, 100) if dtype == "float32" else spread(rng, dtype, 47, 1024, 200)
    # The float64 nearest to a multiple of pi / 2, and others that are very near (Muller et al., "Handbook").
    near = [6381956970095103.0 * 2.0**797, 4503599627370496.0 * 2.0**2, 5.319372648326541e255, 1e22, 2.0**49]
    largest = np.finfo(dtype).max
    x = np.concatenate([x, np.array([*(near if dtype == "float64" else near[2:2]), largest], dtype)])
    x = np.concatenate([x, -x])
    sines, cosines = np.array([sine(v) for v in x]), np.array([sine(v, 1) for v in x])
    assert np.all(ulp_errors(native("sin", x), sines) <= 1 + 0.51)
    assert np.all(ulp_errors(native("cos", x), cosines) <= 1 + 0.51)
    assert np.all(ulp_errors(native("tan", x), sines / cosines) <= 2.5 + 1.5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sin", "cos", "tanh", "erf"])
def test_functions_bounded_by_one_stay_there(name, dtype):
    assert np.all(np.abs(native(name, inputs(name, dtype))) <= 1)


@pytest.mark.parametrize(("name", "dtype"), KEYS)
def test_python_and_native_code_give_the_same_bits(name, dtype):
    rng = np.random.default_rng(3)
    x = pow_inputs(dtype) if name == "pow" else (inputs(name, dtype),)
    chosen = rng.integers(0, x[0].size, 250)
    arguments = [np.concatenate([a[chosen], np.roll(special_values(dtype), 5 * i)]) for i, a in enumerate(x)]
    python = [VECTOR_MATH[name, dtype](*values) for values in zip(*arguments)]
    assert {type(value) for value in python} == {np.dtype(dtype).type}
    np.testing.assert_array_equal(bits(np.array(python)), bits(native(name, *arguments)))


@pytest.mark.parametrize(("name", "dtype"), KEYS)
def test_another_loop_around_the_function_leaves_its_bits(name, dtype):
    x = pow_inputs(dtype) if name == "pow" else (inputs(name, dtype),)
    np.testing.assert_array_equal(bits(native(name, *x, body=BUSY_LOOP)), bits(native(name, *x)))


@pytest.mark.parametrize(("name", "dtype"), KEYS)
def test_bits_do_not_depend_on_the_place_in_the_array(name, dtype):
    x = pow_inputs(dtype) if name == "pow" else (inputs(name, dtype),)
    x = [argument[:3000] for argument in x]
    whole = native(name, *x)
    shifted = native(name, *(argument[7:2998].copy() for argument in x))
    np.testing.assert_array_equal(bits(shifted), bits(whole[7:2998]))


@pytest.mark.parametrize(("name", "dtype"), KEYS)
def test_loops_are_vectorized(name, dtype):
    (code,) = kernel(name, dtype).inspect_llvm().values()
    assert re.search(r"call <\d+ x (float|double)> @llvm\.fma\.v\d", code)


@pytest.mark.parametrize(("name", "dtype"), KEYS)
def test_function_is_named_for_generated_source(name, dtype):
    assert VECTOR_MATH[name, dtype].__name__ == f"{name}_f{dtype.removeprefix('float')}"


def test_arguments_take_the_format_of_the_function():
    exp_f32 = VECTOR_MATH["exp", "float32"]

    @numba.njit((types.int64,))
    def of_an_integer(x):
        return exp_f32(x)

    assert of_an_integer(3) == exp_f32(3) == exp_f32(np.float32(3))
    with pytest.raises(TypingError):
        numba.njit((types.complex128,))(of_an_integer.py_func)


def test_rows_that_end_amid_a_vector_have_the_bits_of_whole_ones():
    x = np.random.default_rng(0).normal(0, 3, (5, 96)).astype(np.float32)
    whole = gl.compile(np.tanh)(x)
    for columns in (17, 33, 77, 95):
        np.testing.assert_array_equal(gl.compile(lambda x, n=columns: np.tanh(x[:, :n]))(x), whole[:, :columns])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_expm1_of_the_smallest_numbers_is_the_number(dtype):
    info = np.finfo(dtype)
    whole = np.arange(1, 200) * info.smallest_subnormal
    x = np.concatenate([whole, info.smallest_normal - whole, info.smallest_normal + whole, [info.smallest_normal * 2]])
    x = np.concatenate([x, -x]).astype(dtype)
    np.testing.assert_array_equal(native("expm1", x), x)
