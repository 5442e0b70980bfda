"""What emulated GPU kernels compute: hand-written ones against NumPy, and the same bits in every run."""

import numpy as np
import pytest
from gpu_sources import COLUMN_PARTS, COLUMN_SUMS, COPY, SAXPY, SOFTMAX
from gradloom.runtime.emulate.launch import emulated_kernel, launch

REVERSED = """
def kernel(b):
    x = array_i64(word(b, 0), 0)
    line = shared_i64(1024)
    t = thread_index()
    line[t] = x[block_index() * block_size() + t]
    barrier()
    x[block_index() * block_size() + t] = line[block_size() - 1 - t]
"""

modes = pytest.mark.parametrize("checked", [False, True])


def run(source, grid, block, *words, checked=False):
    arrays = [word for word in words if isinstance(word, np.ndarray)]
    numbers = [word.ctypes.data if isinstance(word, np.ndarray) else word for word in words]
    return launch(emulated_kernel(source, checked=checked), grid, block, numbers, arrays)


@modes
def test_a_copy(checked):
    for n in (0, 1, 63, 64, 1000):
        x, y = np.arange(n, dtype=np.float32), np.zeros(n, np.float32)
        assert run(COPY, -(-n // 64), 64, x, y, n, checked=checked) == 0
        np.testing.assert_array_equal(y, x)


@modes
def test_a_grid_smaller_than_the_array_strides_over_it(checked):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 1003)).astype(np.float32)
    expected, a = y + np.float32(0.3) * x, int(np.float32(0.3).view(np.int32))
    run(SAXPY, 2, 96, x, y, a, 1003, checked=checked)
    np.testing.assert_array_equal(y, expected)


@modes
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_softmax_of_rows_by_shuffles(dtype, checked):
    x = (3 * np.random.default_rng(1).standard_normal((9, 70))).astype(dtype)
    y = np.zeros_like(x)
    source = SOFTMAX.replace("f32", "f32" if dtype == np.float32 else "f64")
    run(source, 3, 128, x, y, *x.shape, checked=checked)  # the last block has warps without a row
    e = np.exp(x - x.max(1, keepdims=True))
    np.testing.assert_allclose(y, e / e.sum(1, keepdims=True), rtol=20 * np.finfo(dtype).eps)


@modes
def test_sums_of_columns_in_two_launches_have_the_same_bits_every_time(checked):
    x = np.random.default_rng(2).standard_normal((150, 45)).astype(np.float32)
    results = []
    for _ in range(3):
        part, y = np.zeros((4, 45), np.float32), np.zeros(45, np.float32)
        run(COLUMN_PARTS, 2 * 4, 256, x, part, 150, 45, 38, 2, checked=checked)
        run(COLUMN_SUMS, 2, 32, part, y, 4, 45, checked=checked)
        results.append(y)
    np.testing.assert_allclose(results[0], x.astype(np.float64).sum(0), rtol=1e-5, atol=1e-5)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@modes
@pytest.mark.parametrize("threads", [1, 2, 31, 32, 33, 500, 1024])
def test_blocks_of_any_size_share_memory(threads, checked):
    x = np.arange(3 * threads)
    run(REVERSED, 3, threads, x, checked=checked)
    np.testing.assert_array_equal(x, np.arange(3 * threads).reshape(3, -1)[:, ::-1].ravel())


@pytest.mark.parametrize("kind", ["f32", "f64", "i32", "i64"])
def test_every_type_is_shuffled_and_shared(kind):
    source = f"""
def kernel(b):
    x = array_{kind}(word(b, 0), 0)
    line = shared_{kind}(64)
    t = thread_index()
    line[t] = shuffle_xor_{kind}(shuffle_xor_{kind}(x[t], 1), 31)
    barrier()
    x[t] = line[t ^ 32]
"""
    dtype = {"f": "float", "i": "int"}[kind[0]] + kind[1:]
    x = np.arange(64).astype(dtype)
    run(source, 1, 64, x, checked=True)
    np.testing.assert_array_equal(x, np.arange(64) ^ 62)


@modes
def test_the_first_trap_is_returned_and_the_threads_go_on(checked):
    source = """
def kernel(b):
    x = array_i64(word(b, 0), 0)
    t = thread_index()
    if t > 4:
        trap(t + 100)
    x[t] = 1
    return i64(t)
"""
    x = np.zeros(8, np.int64)
    assert run(source, 1, 8, x, checked=checked) == 1
    assert run(source.replace("return i64(t)", "return i64(0)"), 1, 8, x, checked=checked) == 105
    assert x.all()
