"""Native functions of GPU kernels: refused on a CPU, one thread in Python, and whatever a machine says they are."""

import ctypes

import numpy as np
import pytest
from front_ends import kernel_of
from gradloom.runtime.codegen.gpu_natives import GPU_NATIVES, Trapped, block_index, constant_size
from gradloom.runtime.codegen.intrinsics import word
from gradloom.runtime.codegen.natives import NATIVES, WORD, Machine, Native
from gradloom.runtime.codegen.python_to_llvm import Unsupported, lower

COPY = """
x, y = array_f32(a, 8), array_f32(b, 8)
for i in range(block_index() * block_size() + thread_index(), 8, grid_size() * block_size()):
    y[i] = shuffle_xor_f32(x[i], 1)
barrier()
return i64(0)
"""


def test_a_cpu_has_none_of_them():
    with pytest.raises(Unsupported, match="block_index on a CPU"):
        lower(kernel_of("return block_index()"), "kernel")


def test_a_machine_says_what_they_are():
    machine = Machine("a test", {block_index: Native(lambda builder: WORD(1234), NATIVES[block_index].typed)})
    assert "1234" in str(lower(kernel_of("return block_index() + a"), "kernel", machine))


def test_a_machine_may_change_what_a_cpu_has():
    def emit(builder, address, i):
        return builder.add(i, WORD(4321))

    machine = Machine("a test", {word: Native(emit, NATIVES[word].typed)})
    assert "4321" in str(lower(kernel_of("return a"), "kernel", machine))
    assert "4321" not in str(lower(kernel_of("return a"), "kernel"))


def test_in_python_they_are_one_thread_that_does_all():
    x, y = np.arange(8, dtype=np.float32), np.zeros(8, np.float32)
    kernel = kernel_of(COPY)
    block = (ctypes.c_int64 * 2)(x.ctypes.data, y.ctypes.data)
    kernel(ctypes.addressof(block))
    np.testing.assert_array_equal(x, y)


def test_a_trap_in_python_is_an_exception_with_its_code():
    kernel, block = kernel_of("trap(a)\nreturn i64(0)"), (ctypes.c_int64 * 2)(7, 0)
    with pytest.raises(Trapped, match="7"):
        kernel(ctypes.addressof(block))


def test_shared_memory_has_its_dtype():
    for kind, dtype in (("f32", np.float32), ("f64", np.float64), ("i32", np.int32), ("i64", np.int64)):
        assert GPU_NATIVES[f"shared_{kind}"](3).dtype == dtype


@pytest.mark.parametrize("n", [WORD(0), WORD(-1), object()])
def test_the_size_of_shared_memory_stands_in_the_source(n):
    with pytest.raises(Unsupported, match="shared_f32 takes a positive number"):
        constant_size("shared_f32", n)
