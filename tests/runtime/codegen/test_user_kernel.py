"""Kernels of users as machine code: what of Numba is refused, in one sentence with the user's line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradloom.ir.function_digest import FunctionParts
from gradloom.ir.user_kernel import UserKernel
from gradloom.runtime.codegen.array_kernel import ArrayArgument, ArrayKernel, kernel_source
from gradloom.runtime.codegen.intrinsics import call_kernel
from gradloom.runtime.codegen.kernel_cache import compile_kernel
from gradloom.runtime.codegen.user_kernel_error import UserKernelError
from gradloom.runtime.lowering.namespace import kernel_namespace

ARRAYS = [ArrayArgument("f32", 1, True), ArrayArgument("f32", 1, False)]


def kernel_of(function: Any) -> UserKernel:
    return UserKernel(function.__name__, function, FunctionParts(function).digest, "models/kernels.py:3")


def compiled(function: Any) -> Any:
    return compile_kernel(kernel_source(kernel_of(function), ARRAYS, ()), "kernel", kernel_namespace)


def allocates(out, x):
    out[:] = x * 2


def makes_array(out, x):
    line = np.empty(3)
    out[0] = line[0]


def writes_input(out, x):
    x[0] = out[0]


def has_no_attribute(out, x):
    out[0] = x.mean_of_all()


def has_no_name(out, x):
    out[0] = undefined(x[0])  # noqa: F821


def has_no_axis(out, x):
    out[0] = x[0, 1]


def returns(out, x):
    return x[0]


def prints(out, x):
    print(x[0])


def imports(out, x):
    import os

    out[0] = os.getpid()


def raises_what_it_made(out, x):
    n = x[0]
    raise ValueError("too large", n)


def stores_text(out, x):
    out[0] = "one"


REFUSED = [
    (allocates, r"takes memory for an array, at models/kernels.py:\d+ \(out\[:\] = x \* 2\); write loops .* scratch="),
    (makes_array, r"takes memory for an array, at models/kernels.py:\d+ \(line = np.empty"),
    (writes_input, r"writes to an input, at models/kernels.py:\d+ \(x\[0\] = out\[0\]\); write to results"),
    (has_no_attribute, r"Unknown attribute 'mean_of_all' of type readonly array\(float32, 1d, C\), at models"),
    (has_no_name, r"name 'undefined' is not defined"),
    (has_no_axis, r"cannot index readonly array\(float32, 1d, C\) with 2 indices.*, at models/kernels.py:\d+"),
    (returns, r"it returns float32, at models/kernels.py:3; write results to the first arguments"),
    (prints, r"it calls .*, which is not there without Python, at models/kernels.py:3; write loops"),
    (imports, r"opcode \(IMPORT_NAME\) found, at models/kernels.py:\d+ \(import os\)"),
    (raises_what_it_made, r"the text of an exception is made as it runs.*; raise one of a fixed text"),
    (stores_text, r"Numba knows no setitem\(.*, at models/kernels.py:\d+ \(out\[0\] = \"one\"\); write loops"),
]


@pytest.mark.parametrize(("function", "message"), REFUSED)
def test_a_kernel_that_cannot_be_compiled_is_refused_with_its_line(function, message):
    with pytest.raises(UserKernelError, match=rf"the kernel {function.__name__} cannot be compiled: .*{message}"):
        compiled(function)


def first_rows(out, x):
    for i in range(x.shape[0]):
        out[i] = x[i] + x.shape[0]


def test_a_tile_has_its_rows_in_python_and_as_machine_code():
    arrays = [ArrayArgument("f32", 1, True, True), ArrayArgument("f32", 1, False, True)]
    x = np.arange(5, dtype=np.float32)
    kernel = kernel_of(first_rows)
    address = compile_kernel(kernel_source(kernel, arrays, ()), "kernel", kernel_namespace).address
    for run in (lambda block: call_kernel(address, block), ArrayKernel(kernel, arrays, {})):
        out = np.zeros(5, np.float32)
        for tile in range(2):
            block = np.array([tile, 3, 5, 1, out.ctypes.data, 5, x.ctypes.data, 5], np.int64)
            assert run(block.ctypes.data) == 0
        np.testing.assert_array_equal(out, x + np.array([3, 3, 3, 2, 2]))


def test_machine_code_is_kept_by_what_the_function_does():
    def made(by: int) -> Any:
        def shifted(out, x):
            out[0] = x[0] + by

        return shifted

    one, again, other = (kernel_source(kernel_of(made(by)), ARRAYS, ()) for by in (1, 1, 2))
    assert one == again != other
