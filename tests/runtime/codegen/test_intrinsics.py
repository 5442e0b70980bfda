import ctypes
from itertools import product

import numpy as np
import pytest
from gradloom.runtime.codegen import intrinsics
from gradloom.runtime.codegen.intrinsics import ARRAY_DTYPES, RAISED, call_kernel
from gradloom.runtime.codegen.kernel_cache import compile_kernel, source_salt
from gradloom.runtime.cpu import blas

SALT = source_salt(intrinsics)


def both(source, block):
    """Runs the kernel `f` of a source as Python, then jitted, on equal blocks; yields after each."""
    names = dict(vars(intrinsics))
    exec(source, names)
    yield names["f"](block.ctypes.data)
    kernel = compile_kernel(source, "f", vars(intrinsics), salt=SALT)
    yield call_kernel(kernel.address, block.ctypes.data)


@pytest.mark.parametrize("suffix", ARRAY_DTYPES)
def test_arrays_are_read_and_written_where_they_lie(suffix):
    source = f"""
def f(block):
    n = word(block, 2)
    a = array_{suffix}(word(block, 0), n)
    b = window(array_{suffix}(word(block, 1), n), 2, n - 2)
    for i in range(n - 2):
        b[i] = a[i]
    return 0
"""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 2 if suffix == "bool" else 100, 20).astype(ARRAY_DTYPES[suffix])
    b = np.zeros_like(a)
    for code in both(source, np.array([a.ctypes.data, b.ctypes.data, 20])):
        assert code == 0
        np.testing.assert_array_equal(b, np.concatenate([np.zeros(2, a.dtype), a[:-2]]))
        b[:] = 0


def test_a_bool_counts_as_a_condition():
    source = """
def f(block):
    n = word(block, 1)
    a = array_bool(word(block, 0), n)
    found = 0
    for i in range(n):
        if a[i]:
            found += 1
        a[i] = not a[i]
    return found
"""
    a = np.arange(10) < 3
    assert list(both(source, np.array([a.ctypes.data, 10]))) == [3, 7]


def test_window_is_a_slice_of_a_numpy_array():
    np.testing.assert_array_equal(intrinsics.window(np.arange(9), 2, 3), [2, 3, 4])


def test_words_and_atomics():
    source = """
def f(block):
    set_word(block, 1, word(block, 0) + 1)
    before = atomic_add(block + 8, 10)
    swapped = compare_exchange(block + 16, 5, 6)
    again = compare_exchange(block + 16, 5, 7)
    atomic_store(block + 24, atomic_load(block))
    pause()
    return 100 * before + 10 * swapped + again
"""
    block = np.array([3, 0, 5, 0])
    for code in both(source, block):
        assert code == 410
        assert block.tolist() == [3, 14, 6, 3]
        block[:] = [3, 0, 5, 0]


def test_bytes_become_zeros():
    source = """
def f(block):
    zero_bytes(block + 11, word(block, 0))
    return 0
"""
    block = np.array([10, -1, -1, -1])
    expected = block.copy()
    expected.view(np.uint8)[11:21] = 0
    for code in both(source, block):
        assert code == 0
        np.testing.assert_array_equal(block, expected)
        block[1:] = -1


def test_a_kernel_that_raises_has_a_code():
    kernel = compile_kernel("def f(block):\n    raise ValueError('no')\n", "f", {})
    assert call_kernel(kernel.address, 0) == RAISED


def test_a_kernel_calls_a_kernel():
    inner = compile_kernel("def inner(block):\n    return word(block, 1)\n", "inner", vars(intrinsics), salt=SALT)
    block = np.array([inner.address, 9])
    assert list(both("def f(block):\n    return 1 + call_kernel(word(block, 0), block)\n", block)) == [10, 10]


GEMM = """
def f(block):
    w = block
    gemm_{0}(word(w, 0), word(w, 1), word(w, 2), word(w, 3), word(w, 4), word(w, 5), {1},
             word(w, 6), word(w, 7), word(w, 8), word(w, 9), {2}, word(w, 10), word(w, 11))
    return 0
"""


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (0.5, 2.0)])
@pytest.mark.parametrize("suffix", ["f32", "f64"])
def test_gemm_is_the_row_major_product(suffix, alpha, beta):
    dtype = ARRAY_DTYPES[suffix]
    function = blas.pointer({"f32": "sgemm", "f64": "dgemm"}[suffix])
    source = GEMM.format(suffix, alpha, beta)
    rng = np.random.default_rng(1)
    sizes = [
        (3, 4, 5),
        (1, 7, 2),
        (6, 1, 3),
        (5, 3, 1),
        (0, 3, 4),
        (3, 0, 4),
        (3, 4, 0),
        (1, 1, 0),
        (4, 1, 0),
        (0, 0, 0),
    ]
    for (m, n, k), ta, tb, spare in product(sizes, (0, 1), (0, 1), (0, 3)):
        # Each matrix is the left part of a wider one: the leading dimension is not the number of columns.
        a = rng.standard_normal((k, m + spare) if ta else (m, k + spare)).astype(dtype)
        b = rng.standard_normal((n, k + spare) if tb else (k, n + spare)).astype(dtype)
        before = rng.standard_normal((m, n + spare)).astype(dtype)
        if beta == 0:
            before[:, :n] = np.nan  # C is only written
        op_a, op_b = a[:, :m].T if ta else a[:, :k], b[:, :k].T if tb else b[:, :n]
        expected = before.copy()
        expected[:, :n] = alpha * (op_a @ op_b) + (beta * before[:, :n] if beta else 0)
        c = before.copy()
        block = np.array(
            [function, ta, tb, m, n, k, a.ctypes.data, a.shape[1], b.ctypes.data, b.shape[1], c.ctypes.data, c.shape[1]]
        )
        for code in both(source, block):
            assert code == 0
            np.testing.assert_allclose(c, expected, rtol=1e-5 if suffix == "f32" else 1e-12, atol=1e-6)
            c[:] = before


@pytest.mark.parametrize("suffix", ["f32", "f64"])
def test_gemv_adds_a_product_with_a_vector(suffix):
    dtype = ARRAY_DTYPES[suffix]
    function = blas.pointer({"f32": "sgemv", "f64": "dgemv"}[suffix])
    source = f"def f(w):\n    gemv_{suffix}({', '.join(f'word(w, {i})' for i in range(9))})\n    return 0\n"
    rng = np.random.default_rng(1)
    for (rows, columns), turned, spare, step in product([(3, 4), (1, 5), (70, 33)], (0, 1), (0, 3), (1, 2)):
        a = rng.standard_normal((columns, rows + spare)).astype(dtype)  # column by column
        matrix = a[:, :rows] if turned else a[:, :rows].T
        x = rng.standard_normal(step * matrix.shape[1]).astype(dtype)
        before = rng.standard_normal(len(matrix)).astype(dtype)
        y = before.copy()
        places = [a.ctypes.data, a.shape[1], x.ctypes.data, step, y.ctypes.data]
        for code in both(source, np.array([function, turned, rows, columns, *places])):
            assert code == 0
            expected = before + matrix @ x[::step]
            np.testing.assert_allclose(y, expected, rtol=1e-5 if suffix == "f32" else 1e-12, atol=1e-5)
            y[:] = before


def test_getters_and_setters_of_c():
    seen = []
    getter = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: -7)
    setter = ctypes.CFUNCTYPE(None, ctypes.c_int)(seen.append)
    block = np.array([ctypes.cast(function, ctypes.c_void_p).value for function in (getter, setter)])
    assert list(both("def f(b):\n    call_setter(word(b, 1), 3)\n    return call_getter(word(b, 0))\n", block)) == [
        -7,
        -7,
    ]
    assert seen == [3, 3]
