"""What emulated GPU kernels compute: hand-written ones against NumPy, and the same bits in every run."""

import numpy as np
import pytest
from gradloom.runtime.emulate.launch import emulated_kernel, launch

COPY = """
def kernel(b):
    x = array_f32(word(b, 0), 0)
    y = array_f32(word(b, 1), 0)
    i = block_index() * block_size() + thread_index()
    if i < word(b, 2):
        y[i] = x[i]
"""

SAXPY = """
def kernel(b):
    x = array_f32(word(b, 0), 0)
    y = array_f32(word(b, 1), 0)
    a = real_f32(word(b, 2))
    for i in range(block_index() * block_size() + thread_index(), word(b, 3), grid_size() * block_size()):
        y[i] += a * x[i]
"""

SOFTMAX = """
def warp_max(v):
    for k in range(5):
        o = shuffle_xor_{t}(v, 16 >> k)
        v = v if v > o else o
    return v

def warp_sum(v):
    for k in range(5):
        v = v + shuffle_xor_{t}(v, 16 >> k)
    return v

def kernel(b):
    x = array_{t}(word(b, 0), 0)
    y = array_{t}(word(b, 1), 0)
    columns = word(b, 3)
    lane = thread_index() % 32
    r = block_index() * (block_size() // 32) + thread_index() // 32
    if r < word(b, 2):
        at = r * columns
        m = {t}(-inf)
        for j in range(lane, columns, 32):
            m = x[at + j] if x[at + j] > m else m
        m = warp_max(m)
        s = {t}(0.0)
        for j in range(lane, columns, 32):
            s = s + exp_{t}(x[at + j] - m)
        s = warp_sum(s)
        for j in range(lane, columns, 32):
            y[at + j] = exp_{t}(x[at + j] - m) / s
"""

COLUMN_PARTS = """
def kernel(b):
    x = array_f32(word(b, 0), 0)
    part = array_f32(word(b, 1), 0)
    columns = word(b, 3)
    step = word(b, 4)
    across = word(b, 5)
    tile = shared_f32(264)
    tx = thread_index() % 32
    ty = thread_index() // 32
    c = block_index() % across * 32 + tx
    first = block_index() // across * step
    s = f32(0.0)
    if c < columns:
        for r in range(first + ty, min(first + step, word(b, 2)), 8):
            s = s + x[r * columns + c]
    tile[ty * 33 + tx] = s
    barrier()
    if ty == 0:
        if c < columns:
            t = tile[tx]
            for k in range(1, 8):
                t = t + tile[k * 33 + tx]
            part[block_index() // across * columns + c] = t
"""

COLUMN_SUMS = """
def kernel(b):
    part = array_f32(word(b, 0), 0)
    y = array_f32(word(b, 1), 0)
    columns = word(b, 3)
    c = block_index() * block_size() + thread_index()
    if c < columns:
        s = f32(0.0)
        for k in range(word(b, 2)):
            s = s + part[k * columns + c]
        y[c] = s
"""

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
    source = SOFTMAX.replace("{t}", "f32" if dtype == np.float32 else "f64")
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
