"""What is not defined on a GPU is found in the emulator, and named with the line of the kernel's source."""

import re
import resource
import sys

import numpy as np
import pytest
from gradloom.passes.target import TargetError
from gradloom.runtime.codegen.arithmetic import Unsupported
from gradloom.runtime.emulate.host import check_host
from gradloom.runtime.emulate.launch import KernelFault, emulated_kernel, launch


def kernel(body, checked=True):
    lines = ["x = array_f32(word(b, 0), 0)", "t = thread_index()", *body.strip("\n").split("\n")]
    return emulated_kernel("\n    ".join(["def kernel(b):", *lines]), checked=checked)


def fault(body, threads=64, grid=1, checked=True):
    x = np.zeros(64, np.float32)
    with pytest.raises(KernelFault) as caught:
        launch(kernel(body, checked), grid, threads, [x.ctypes.data], [x])
    return caught.value


modes = pytest.mark.parametrize("checked", [False, True])


@modes
def test_a_barrier_that_some_threads_do_not_reach(checked):
    found = fault("if t < 7:\n        barrier()", checked=checked)
    assert (found.kind, found.block, found.thread, found.line) == ("divergent barrier", 0, 0, 5)
    assert "kernel 'kernel', line 5, `barrier()`: thread 0 of block 0 waits there, and thread 7 has ended" in str(found)


@modes
def test_a_thread_that_returns_before_a_barrier(checked):
    found = fault("if t == 40:\n        return\nbarrier()\nx[t] = 1.0", checked=checked)
    assert found.kind == "divergent barrier"
    assert found.line == 6
    assert "thread 40 has ended" in str(found)


def test_threads_at_different_barriers():
    found = fault("if t < 32:\n        barrier()\nif t >= 32:\n        barrier()")
    assert found.kind == "divergent barrier"
    assert "thread 32 is in line 7, `barrier()`" in str(found)


def test_a_barrier_that_threads_reach_another_number_of_times():
    assert fault("for k in range(t // 63):\n        barrier()").kind == "divergent barrier"


@modes
def test_a_shuffle_that_some_lanes_do_not_reach(checked):
    found = fault("v = x[t]\nif t % 32 != 5:\n        v = shuffle_xor_f32(v, 1)\nx[t] = v", checked=checked)
    assert found.kind == "divergent shuffle"
    assert found.line == 6
    assert "thread 5 has ended" in str(found)


def test_lanes_of_a_warp_at_a_shuffle_and_at_a_barrier():
    found = fault("v = x[t]\nif t == 33:\n        barrier()\nv = shuffle_xor_f32(v, 1)")
    assert found.kind == "divergent shuffle"
    assert "thread 33 is in line 6, `barrier()`" in str(found)


def test_warps_that_take_different_ways_are_no_fault():
    x = np.ones(96, np.float32)
    body = "if t // 32 == 1:\n        x[t] = x[t] + shuffle_xor_f32(x[t], 1)\nbarrier()"
    assert launch(kernel(body), 1, 96, [x.ctypes.data], [x]) == 0
    np.testing.assert_array_equal(x.reshape(3, 32)[:, 0], [1, 2, 1])


@modes
def test_a_shuffle_with_a_lane_that_there_is_not(checked):
    found = fault("x[t] = shuffle_xor_f32(x[t], 8)", threads=40, checked=checked)
    assert found.kind == "no such lane"
    assert "asks for the value of thread 40, and the block has 40" in str(found)
    assert "mask 32; a mask is from 0 to 31" in str(fault("x[t] = shuffle_xor_f32(x[t], 32)", checked=checked))


def test_an_access_behind_a_shared_array():
    found = fault("line = shared_f32(60)\nother = shared_f32(60)\nline[t] = 1.0")
    assert (found.kind, found.thread, found.line) == ("out of bounds", 60, 6)
    assert "thread 60 of block 0 writes element 60 of shared_f32(60) of line 4" in str(found)
    assert "reads element -1" in str(fault("line = shared_f64(60)\nx[t] = line[t - 1]"))


def test_an_access_behind_an_array_given():
    found = fault("x[t + block_index() * 32] = 1.0", threads=32, grid=3)
    assert (found.kind, found.block, found.thread) == ("out of bounds", 2, 0)
    assert "writes element 64 of array 0 of those given, which has 256 bytes" in str(found)
    assert "reads element -1 of array 0" in str(fault("x[t] = x[t - 1]"))


def test_an_address_that_is_in_no_array_given():
    found = fault("y = array_f32(word(b, 0) - 4096, 0)\nx[t] = y[t]")
    assert found.kind == "out of bounds"
    assert "in none of the 1 arrays given" in str(found)


def test_a_pointer_before_an_array_that_is_read_inside_of_it_is_no_fault():
    x = np.zeros(64, np.float32)
    body = "y = array_f32(word(b, 0) - 4096, 0)\nx[t] = y[t + 1024]"
    assert launch(kernel(body), 1, 64, [x.ctypes.data], [x]) == 0


def test_without_arrays_given_only_shared_memory_has_bounds():
    x = np.zeros(64, np.float32)
    assert launch(kernel("x[t + 32] = 1.0"), 1, 32, [x.ctypes.data]) == 0
    assert x[32:].all()


def test_a_read_of_shared_memory_that_nothing_wrote():
    found = fault("line = shared_f32(64)\nif t < 63:\n        line[t] = 1.0\nbarrier()\nx[t] = line[t]")
    assert (found.kind, found.thread, found.line) == ("unwritten", 63, 8)
    assert "reads element 63 of shared_f32(64) of line 4, which no thread of the block has written yet" in str(found)


def test_shared_memory_of_the_block_before_counts_as_unwritten():
    body = "line = shared_f32(64)\nif block_index() == 0:\n        line[t] = 1.0\nx[t] = line[t]"
    assert fault(body, grid=2).block == 1


def test_in_the_fast_mode_it_is_not_a_number():
    x = np.zeros(64, np.float32)
    launch(kernel("line = shared_f32(64)\nx[t] = line[t]", checked=False), 1, 64, [x.ctypes.data])
    assert np.isnan(x).all()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("line[t] = 1.0\nx[t] = line[t - t % 2]", "reads element 0 of .* and thread 0 accesses it in line 5"),
        ("line[0] = 1.0", "writes element 0 of .* and thread 0 accesses it in line 5"),
        (
            "line[t] = 1.0\nbarrier()\nx[t] = line[t ^ 1]\nline[t] = 2.0",
            "thread 1 of block 0 reads .* accesses it in line 8",
        ),
        (
            "line[t] = 1.0\nbarrier()\nv = line[3]\nif t == 63:\n        line[3] = v",
            "and several threads access it in line 7",
        ),
        ("line[t] = 1.0\nv = shuffle_xor_f32(x[t], 1)\nx[t] = line[t ^ 1] + v", "no barrier between them"),
    ],
)
def test_a_race_in_shared_memory(body, words):
    found = fault("line = shared_f32(64)\n" + body)
    assert found.kind == "race"
    assert re.search(words, str(found))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "x[0] = 1.0",
            "thread 1 of block 0 writes element 0 of array 0 of those given, and thread 0 accesses it in line 4",
        ),
        ("x[t] = x[t ^ 1]", "thread 1 of block 0 reads element 0 of array 0 .* and thread 0 accesses it in line 4"),
        ("v = x[t]\nx[63 - t] = v", "thread 32 of block 0 reads element 32 .*, and thread 31 accesses it in line 5"),
        ("x[t] = 1.0\nv = shuffle_xor_f32(x[t], 1)\nx[t ^ 1] = v", "with no barrier between them"),
        ("v = x[3]\nif t == 63:\n        x[3] = v", "and several threads access it in line 4"),
        ("y = array_f64(word(b, 0), 0)\nx[t] = 1.0\nif t == 63:\n        y[3] = 1.0", "element 3 .* thread 6 accesses"),
    ],
)
def test_a_race_in_memory_that_blocks_share(body, words):
    found = fault(body)
    assert found.kind == "race"
    assert re.search(words, str(found))


def test_what_a_barrier_orders_is_no_race():
    x = np.arange(64, dtype=np.float32)
    body = "v = x[t ^ 1]\nbarrier()\nx[t] = v\nbarrier()\nx[63 - t] = x[63 - t] + x[63 - t]"
    assert launch(kernel(body), 1, 64, [x.ctypes.data], [x]) == 0
    np.testing.assert_array_equal(x, 2 * (np.arange(64) ^ 1))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "x[t] = 1.0",
            "thread 0 of block 1 writes element 0 .* and thread 0 of block 0 accesses it in line 4, .*nothing orders",
        ),
        (
            "v = x[t + 16]\nbarrier()\nif block_index() == 1:\n        x[t + 32] = v",
            "thread 0 of block 1 writes element 32 .* several blocks access",
        ),
        (
            "if block_index() < 2:\n        v = x[0]\nif block_index() == 2:\n        x[0] = 1.0",
            "and threads of several blocks access it in line 5",
        ),
        ("if block_index() == 0:\n        x[t] = 1.0\nbarrier()\nv = x[t]", "thread 0 of block 1 reads element 0"),
    ],
)
def test_a_race_of_blocks(body, words):
    found = fault(body, threads=32, grid=3)
    assert found.kind == "race"
    assert re.search(words, str(found)), str(found)


def test_blocks_may_read_the_same_and_write_what_is_their_own_where_elements_are_bytes():
    x, y = np.ones(64, np.bool_), np.zeros(64, np.bool_)
    source = """
def kernel(b):
    x, y = array_bool(word(b, 0), 0), array_bool(word(b, 1), 0)
    i = thread_index() * grid_size() + block_index()
    y[i] = x[0] and x[i]
"""
    assert launch(emulated_kernel(source, checked=True), 4, 16, [x.ctypes.data, y.ctypes.data], [x, y]) == 0
    assert y.all()


def test_a_read_that_comes_before_the_write_of_another_thread():
    found = fault("line = shared_f32(64)\nline[t] = 1.0\nx[t] = line[63 - t]")
    assert found.kind == "unwritten"
    assert "if another thread writes it, a barrier is missing between them" in str(found)


def test_a_sum_into_an_element_reads_it_before_it_writes_it():
    assert fault("line = shared_f32(64)\nline[t] += 1.0").kind == "unwritten"


def test_a_fault_in_a_function_that_the_kernel_calls_names_its_line():
    source = "def put(a, i):\n    a[i] = 1.0\n\ndef kernel(b):\n    put(array_f32(word(b, 0), 0), 64)"
    x = np.zeros(64, np.float32)
    with pytest.raises(KernelFault, match=r"line 2, `a\[i\] = 1.0`"):
        launch(emulated_kernel(source, checked=True), 1, 1, [x.ctypes.data], [x])


def test_a_launch_that_no_gpu_takes():
    x = np.zeros((8, 8), np.float32)
    plain = kernel("x[t] = 1.0")
    for grid, block in ((1, 0), (1, 1025), (-1, 32)):
        with pytest.raises(ValueError, match="0 or more blocks of 1 to 1024 threads"):
            launch(plain, grid, block, [x.ctypes.data])
    with pytest.raises(ValueError, match="reads 1 words, got 0"):
        launch(plain, 1, 1, [])
    with pytest.raises(ValueError, match="C-contiguous"):
        launch(plain, 1, 1, [x.ctypes.data], [x.T])
    with pytest.raises(ValueError, match="share 56,000 bytes, and a GPU gives 49,152"):
        kernel("line = shared_f64(7000)")
    with pytest.raises(Unsupported, match="positive number that stands in the source"):
        kernel("line = shared_f32(t)")


def test_elsewhere_than_on_linux_there_is_no_emulator(monkeypatch):
    check_host()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(TargetError, match="64-bit Linux with glibc"):
        check_host()


def test_many_launches_keep_no_memory():
    x = np.zeros(1024, np.float32)
    fibers = kernel("line = shared_f32(1024)\nline[t] = x[t]\nbarrier()\nx[t] = line[t] + 1.0")
    diverges = kernel("if t < 7:\n        barrier()")

    def rounds(n):
        for _ in range(n):
            launch(fibers, 1, 1024, [x.ctypes.data], [x])
            with pytest.raises(KernelFault):
                launch(diverges, 1, 1024, [x.ctypes.data])

    rounds(3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rounds(60)  # stacks of 64 MiB each, of which a page or two is touched
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10
    assert (x == 63).all()
