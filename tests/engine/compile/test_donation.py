"""Donated arguments: results take over their memory, and have the values that they would have had."""

import pickle

import gradloom as gl
import numpy as np
import pytest


def address(array):
    return array.__array_interface__["data"][0]


def moved(state, x):
    return {"a": state["a"] * 2 + x, "b": state["b"] @ state["b"] + state["a"].sum()}, (state["a"] * x).sum()


def start():
    rng = np.random.default_rng(0)
    return {"a": rng.standard_normal(5), "b": rng.standard_normal((3, 3))}, rng.standard_normal(5)


def test_results_lie_where_the_donated_arrays_were():
    (state, x), plain, fast = start(), gl.compile(moved), gl.compile(moved, donate_argnums=0)
    expected = plain(*start())
    places, before = {name: address(array) for name, array in state.items()}, x.copy()
    new, total = fast(state, x)
    assert {name: address(array) for name, array in new.items()} == places
    for ours, theirs in ((new["a"], expected[0]["a"]), (new["b"], expected[0]["b"]), (total, expected[1])):
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)
    np.testing.assert_array_equal(x, before)
    again = fast(new, x)
    assert address(again[0]["a"]) == places["a"]


@pytest.mark.parametrize(
    ("fn", "count"),
    [
        (lambda a, b: (b, a), 2),
        (lambda a, b: (a, a), 2),
        (lambda a, b: (a + b, a + b), 2),
        (lambda a, b: a[::-1] + b, 1),
        (lambda a, b: (np.cumsum(a) + b.sum(), a * 1), 2),
        (lambda a, b: (a[::-1], a), 2),
        (lambda a, b: (b * 2, b[::-1] + a, a.sum()), 2),
        (lambda a, b: a.sum(), 0),
    ],
)
def test_what_is_read_after_it_was_overwritten_is_what_it_was(fn, count):
    rng = np.random.default_rng(0)
    given = [rng.standard_normal(70) for _ in range(2)]
    expected = gl.compile(fn)(*(array.copy() for array in given))
    places = {address(array) for array in given}
    found = gl.compile(fn, donate_argnums=(0, 1))(*given)
    found, expected = (value if isinstance(value, tuple) else (value,) for value in (found, expected))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)
    assert sum(address(array) in places for array in found) == count


def test_an_array_that_is_not_only_donated_is_copied():
    fast = gl.compile(lambda a, b: (a + 1, b + 2), donate_argnums=(0,))
    a = np.arange(6.0)
    for given in (
        a,
        a[::2],
        np.broadcast_to(np.float64(3), 6),
        np.lib.stride_tricks.as_strided(a, (6,), writeable=False),
    ):
        before = given.copy()
        new, other = fast(given, given)
        np.testing.assert_array_equal(given, before)
        np.testing.assert_array_equal(new, before + 1)
        np.testing.assert_array_equal(other, before + 2)
    base = np.arange(10.0)
    new, other = fast(base[2:8], base[4:])
    np.testing.assert_array_equal(base, np.arange(10.0))
    np.testing.assert_array_equal(new, np.arange(3.0, 9.0))


def test_positions_count_the_static_arguments_and_methods_do_not_count_self():
    a = np.arange(4.0)
    fast = gl.compile(lambda mode, a: a + 1 if mode == "up" else a - 1, static=0, donate_argnums=1)
    assert address(fast("up", a)) == address(a)
    np.testing.assert_array_equal(a, np.arange(1.0, 5.0))

    class Counter:
        @gl.compile
        def plain(self, a):
            return a + 1

        donating = gl.compile(lambda self, a: a + 1, donate_argnums=1)

    assert address(Counter().donating(a)) == address(a)
    assert address(Counter().plain(a)) != address(a)


def double(a):
    return a * 2


def test_a_copy_donates_as_well():
    a = np.arange(4.0)
    fast = pickle.loads(pickle.dumps(gl.compile(double, donate_argnums=0)))
    assert address(fast(a)) == address(a)


def test_positions_that_there_are_not_are_told():
    for wrong in ("a", -1, 1.5, (0, None)):
        with pytest.raises(ValueError, match="donate_argnums are positions of arguments, 0 or more, got"):
            gl.compile(double, donate_argnums=wrong)
    with pytest.raises(ValueError, match="donate_argnums has 2, and the function was called with 1 positions"):
        gl.compile(double, donate_argnums=2)(np.ones(3))


def test_a_refused_run_leaves_donated_arrays_as_they_were():
    fast = gl.compile(lambda a, i: a * 2 + a[i].sum(), donate_argnums=0)
    a = np.arange(4.0)
    with pytest.raises(IndexError):
        fast(a, np.array([7]))
    np.testing.assert_array_equal(a, np.arange(4.0))
