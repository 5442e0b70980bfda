"""Integers in compiled programs: NumPy's numbers at the edges of every dtype, and what is refused."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

EDGES = {
    "int32": [0, 1, -1, 2, 3, -8, 31, 32, 33, 64, 255, 46341, -(2**31), 1 - 2**31, 2**31 - 1],
    "int64": [0, 1, -1, 2, 3, -8, 32, 63, 64, 65, 2**31, 3037000500, -(2**63), 1 - 2**63, 2**63 - 1],
    "uint8": [0, 1, 2, 3, 7, 8, 9, 31, 64, 127, 128, 200, 255],
}
BINARY = [np.add, np.subtract, np.multiply, np.floor_divide, np.remainder, np.fmod, np.maximum, np.minimum]
BINARY += [np.left_shift, np.right_shift, np.bitwise_xor, np.less, np.not_equal, np.isclose, np.true_divide]
UNARY = [np.negative, np.abs, np.sign, np.square, np.invert]


def assert_same(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == np.asarray(other).dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", EDGES)
def test_functions_of_integers_are_numpys_on_edge_values(dtype):
    edges = np.array(EDGES[dtype], dtype)
    x, y = (a.copy() for a in np.broadcast_arrays(edges[:, None], edges))

    def fn(x, y):
        results = [f(x, y) for f in BINARY] + [f(x) for f in UNARY] + list(divmod(x, y))
        return [*results, np.power(x, np.abs(y >> 1) & 63), np.cumsum(x, axis=1, dtype=dtype), np.clip(x, 2, 100)]

    with np.errstate(all="ignore"):
        expected = fn(x, y)
    assert_same(gl.compile(fn)(x, y), expected)
    assert_same(gl.interpret(gl.trace(fn, x, y), x, y), expected)


@pytest.mark.parametrize("dtype", EDGES)
def test_what_is_known_when_compiled_has_the_meaning_of_an_argument(dtype):
    edges = np.array(EDGES[dtype], dtype)

    def fn(x):
        one = np.full_like(x, 1)  # which the compiler knows, and NumPy's array is
        functions = (np.left_shift, np.right_shift, np.floor_divide, np.remainder)
        beside = [f(x, c) for i, f in enumerate(functions) for c in edges[i % 2 :: 2]]
        return (
            beside
            + [f(c, x) for i, f in enumerate(functions) for c in edges[1 - i % 2 :: 2]]
            + [f(one * c, d) for f in functions for c, d in pairs]
        )

    pairs = [(c, d) for c in edges[::3] for d in edges[1::2]]
    with np.errstate(all="ignore"):
        expected = fn(edges)
    assert_same(gl.compile(fn)(edges), expected)


def test_floats_that_no_integer_holds_are_those_of_x86_also_where_they_are_known():
    known = [np.nan, np.inf, -np.inf, -1.0, 300.7, 2.0**31, 2.0**32 + 7, -(2.0**63), 2.0**63, 1e300]
    least = {"int32": -(2**31), "int64": -(2**63), "uint8": 0}
    within = {"int32": {3: -1, 4: 300}, "uint8": {3: 255, 4: 44}}
    within["int64"] = within["int32"] | {5: 2**31, 6: 2**32 + 7}

    def fn(x):
        cast = [[x.astype(d), *(np.full_like(x, v).astype(d)[0] for v in known)] for d in least]
        return [part for parts in cast for part in parts]

    expected = []
    for dtype, other in least.items():
        numbers = [within[dtype].get(i, other) for i in range(len(known))]
        expected += [np.array(numbers, dtype), *np.array(numbers, dtype)]
    assert_same(gl.compile(fn)(np.array(known)), expected)
    assert_same([gl.numpy.astype(np.array(known), d) for d in least], expected[:: len(known) + 1])


def test_an_index_that_is_undefined_in_c_is_still_checked():
    table = np.arange(5.0)
    for wrong in (np.nan, np.inf, 1e30):
        known = gl.compile(lambda t, x, wrong=wrong: t[np.full_like(x, wrong).astype("int64")])
        for call, x in ((known, np.zeros(3)), (gl.compile(lambda t, x: t[x.astype("int64")]), np.array([0, wrong, 1]))):
            with pytest.raises(IndexError, match=r"out of range for 5 entries at .*test_integers\.py"):
                call(table, x)
    shifted = gl.compile(lambda t, i: t[(i << 64) + i])
    np.testing.assert_array_equal(shifted(table, np.arange(5)), table)


def test_the_same_shift_twice_gives_the_same_bits():
    shifted = gl.compile(lambda x: (x << 70) | (x >> 64))
    assert {shifted(np.arange(64)).tobytes() for _ in range(3)} == {bytes(64 * 8)}


# An integer to a negative integer power.


def power(x, y):
    return x**y


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_an_integer_to_a_negative_power_stops_the_run_as_numpy_does(dtype):
    x, y = np.arange(-3, 38).astype(dtype), (np.arange(41) % 5).astype(dtype)
    compiled = gl.compile(power)
    np.testing.assert_array_equal(compiled(x, y), x**y)
    graph = gl.trace(power, x, y)
    for at in (0, 17, 40):  # in a vector, and behind the last one
        bad = y.copy()
        bad[at] = -1
        with pytest.raises(ValueError, match="negative integer powers"):
            power(x, bad)
        with pytest.raises(
            ValueError, match=r"raised to a negative integer power at .*test_integers\.py:\d+; write x\."
        ):
            compiled(x, bad)
        with pytest.raises(ValueError, match=r"test_integers\.py:\d+: integers to negative integer powers"):
            gl.interpret(graph, x, bad)
    np.testing.assert_array_equal(compiled(x, y), x**y)


def test_a_negative_power_that_is_known_is_refused_while_tracing():
    x = np.arange(3)
    for exponent in (-1, np.int64(-2), np.array([1, 0, -1])):
        with pytest.raises(ValueError, match=r"negative integer powers are not allowed; write x\..*test_integers\.py"):
            gl.trace(lambda x, y=exponent: x**y, x)
    with pytest.raises(ValueError, match=r"negative integer powers are not allowed"):
        gl.numpy.pow(x, np.array([0, -1, 2]))


def test_powers_that_numpy_takes_are_not_checked():
    x, y = np.array([0.5, 2.0]), np.array([-1, -2])
    np.testing.assert_allclose(gl.compile(power)(x, y), x**y, rtol=1e-15)
    u, v = np.array([2, 3], "uint8"), np.array([7, 2], "uint8")
    np.testing.assert_array_equal(gl.compile(power)(u, v), u**v)
    assert "check_exponent" not in str(gl.trace(power, u, v)) + str(gl.trace(power, x, y))


def test_a_negative_power_stops_a_step_before_a_parameter_changes():
    def loss_fn(model, batch):
        return np.mean(model(batch["x"]) ** 2) * np.sum(batch["n"] ** batch["k"]).astype("float32")

    batch = {"x": np.ones((4, 3), "float32"), "n": np.array([1, 2]), "k": np.array([1, 2])}
    step = gl.compile_step(nn.Linear(3, 2), loss_fn, gl.optim.SGD(0.1), batch)
    step(batch)
    before = {name: value.copy() for name, value in step.parameters().items()}
    with pytest.raises(ValueError, match=r"raised to a negative integer power at .*test_integers\.py"):
        step(batch | {"k": np.array([1, -2])})
    for name, value in step.parameters().items():
        np.testing.assert_array_equal(value, before[name])
    step(batch)
    assert any((value != before[name]).any() for name, value in step.parameters().items())


# Beside the ops.


@pytest.mark.parametrize("dtype", EDGES)
def test_integers_are_compared_with_python_numbers_of_any_size(dtype):
    x = np.array(EDGES[dtype], dtype)
    numbers = [-(2**70), -(2**63) - 1, -(2**63), -129, 300, 2**31, 2**63 - 1, 2**63, 2**64, 2**70]

    def fn(x):
        comparisons = (np.less, np.less_equal, np.equal, np.not_equal, np.greater)
        return [f(x, n) for f in comparisons for n in numbers] + [f(n, x) for f in comparisons for n in numbers]

    assert_same(gl.compile(fn)(x), fn(x))


def test_an_array_is_filled_with_a_float_as_numpy_casts_it():
    def fn(x, y, z):
        return [np.full_like(a, v) for a in (x, y, z) for v in (np.nan, -np.inf, 1e30, -2.7, np.float32(2.0**31))]

    arrays = [np.zeros(2, dtype) for dtype in EDGES]
    with np.errstate(all="ignore"):
        expected = fn(*arrays)
    assert_same(gl.compile(fn)(*arrays), expected)


def test_bytes_index_arrays_longer_than_bytes_reach():
    table, at = np.arange(300.0), np.array([0, 7, 255], "uint8")
    for mode in ("raise", "wrap", "clip"):
        for t in (table, table[:5] if mode != "raise" else table[:256]):
            actual = gl.compile(lambda t, i, mode=mode: np.take(t, i, mode=mode))(t, at)
            np.testing.assert_array_equal(actual, np.take(t, at, mode=mode))


@pytest.mark.parametrize("dtype", EDGES)
def test_sums_products_and_extremes_of_edge_values_wrap_as_numpys(dtype):
    x = np.random.default_rng(0).choice(np.array(EDGES[dtype], dtype), (5, 67))

    def fn(x):
        results = [f(x, axis=axis) for f in (np.max, np.min, np.argmax, np.argmin) for axis in (0, 1, None)]
        for to in ("int32", "int64", "uint8"):
            results += [f(x, axis=axis, dtype=to) for f in (np.sum, np.prod, np.cumsum) for axis in (0, 1)]
        return [*results, x @ x.T, np.ptp(x, axis=1), np.diff(x)]

    assert_same(gl.compile(fn)(x), fn(x))
