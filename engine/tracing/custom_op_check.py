"""A custom op's kernel as machine code, held against its function in Python, on memory that notices what it should not
do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Array, ArrayType, Builder, Op, is_float, type_of
from ...ir.user_kernel import Options, UserKernel, read_only
from ...passes.pipeline import plan_graph
from ...passes.target import DEFAULT_TARGET
from ...runtime.backend import backend_of
from ...runtime.codegen.array_kernel import ArrayArgument, kernel_source
from ...runtime.codegen.intrinsics import call_kernel
from ...runtime.codegen.kernel_cache import code_salt, compile_kernel
from ...runtime.lowering.namespace import kernel_namespace
from .errors import located

_TOLERANCES = {np.dtype("float32"): 1e-5, np.dtype("float64"): 1e-12}
_GUARD = 256
"""Bytes on either side of an array."""
_FILLINGS = (165, 90)
"""Bytes that memory holds before a run; every bit is 0 in one of them."""
_STOPPED = 1


def check_kernel(op: Op, arrays: Sequence[Array], options: Options, rtol: float | None, atol: float | None) -> None:
    """See `CustomOp.check`."""
    kernel = op.kernel
    assert kernel is not None
    made = op.infer(*map(type_of, arrays), options=options)
    types = (made,) if isinstance(made, ArrayType) else made
    with np.errstate(all="ignore"):
        expected = kernel.run(arrays, types, options)
    found = _of_elements(op, arrays, options) if kernel.elementwise else _of_arrays(kernel, arrays, types, options)
    for number, (one, other) in enumerate(zip(found, expected)):
        near = _TOLERANCES.get(one.dtype, 0.0)
        largest = np.max(np.abs(other[np.isfinite(other)]), initial=0.0) if is_float(other.dtype) else 0.0
        which = f"result {number} of {kernel.name}" if len(found) > 1 else f"the result of {kernel.name}"
        np.testing.assert_allclose(
            one,
            other,
            near if rtol is None else rtol,
            near * float(largest) if atol is None else atol,
            err_msg=located(f"{which}: machine code and the function in Python differ"),
        )


def _of_elements(op: Op, arrays: Sequence[Array], options: Options) -> list[Array]:
    """What a program of the op alone gives."""
    b = Builder()
    graph = b.graph([b.emit(op, *(b.input(type_of(x)) for x in arrays), options=options)])
    results = [np.empty(v.type.shape, v.type.dtype) for v in graph.outputs]
    backend_of(DEFAULT_TARGET).build(plan_graph(graph)).run([read_only(x) for x in arrays], results)
    return results


def _of_arrays(
    kernel: UserKernel, arrays: Sequence[Array], types: Sequence[ArrayType], options: Options
) -> list[Array]:
    """What the kernel gives, once it is seen that it writes all of its results and nothing else."""
    rows = types[0].shape[0] if kernel.rows else 1
    first, second = (_Run(kernel, arrays, types, options, filling, rows) for filling in _FILLINGS)
    for number, (one, other) in enumerate(zip(first.results, second.results)):
        name = f"{kernel.name}: result {number}"
        untouched = _bytes_equal(one, _FILLINGS[0]) & _bytes_equal(other, _FILLINGS[1])
        if untouched.any():
            place = tuple(int(i) for i in np.argwhere(untouched)[0])
            count = int(untouched.sum())
            raise AssertionError(
                located(f"{name}: {count} of {one.size} elements are not written, the first at {place}")
            )
        if one.tobytes() != other.tobytes():
            what = "depends on what results or scratch held before; write before you read"
            raise AssertionError(located(f"{name} {what}"))
    if kernel.rows and rows > 1:
        cut = _Run(kernel, arrays, types, options, _FILLINGS[0], -(-rows // 3))
        for number, (one, other) in enumerate(zip(first.results, cut.results)):
            if one.tobytes() != other.tobytes():
                what = "is another where the rows are cut: some row is made of other rows; leave rows= away"
                raise AssertionError(located(f"{kernel.name}: result {number} {what}"))
    return first.results


class _Run:
    """A run of the compiled kernel, `step` rows at a time, on memory that is filled with a byte."""

    def __init__(
        self,
        kernel: UserKernel,
        arrays: Sequence[Array],
        types: Sequence[ArrayType],
        options: Options,
        filling: int,
        step: int,
    ) -> None:
        self.kernel = kernel
        self.filling = filling
        self.arguments: list[ArrayArgument] = []
        self.words: list[int] = []
        self.memory: list[tuple[Array, int, int]] = []
        """Of each array its memory, and where in it the array begins and ends."""
        rows = types[0].shape[0] if kernel.rows else 1
        self.results = [self.add(t, True, bool(kernel.rows)) for t in types]
        for number, x in enumerate(arrays):
            self.add(type_of(x), False, number in kernel.rows)[...] = x
        for t in kernel.scratch_types([type_of(x) for x in arrays], options):
            self.add(t, True, False)
        source = kernel_source(kernel, self.arguments, options, checked=True)
        address = compile_kernel(source, "kernel", kernel_namespace, salt=code_salt()).address
        for tile in range(-(-rows // max(step, 1))):
            block = np.array([tile, max(step, 1), rows, _STOPPED, *self.words], np.int64)
            if call_kernel(address, block.ctypes.data) != 0:
                what = "an index is out of range, or it raised an exception"
                raise AssertionError(located(f"{kernel.name}: the kernel stopped; {what}"))
        self.check_guards()

    def add(self, type: ArrayType, written: bool, rows: bool) -> Array:
        """An array with guards on both sides."""
        memory: Array = np.full(type.nbytes + 3 * _GUARD, self.filling, np.uint8)
        start = _GUARD + -memory.ctypes.data % 64
        self.memory.append((memory, start, start + type.nbytes))
        self.arguments.append(ArrayArgument(SHORT_NAMES[type.dtype], type.ndim, written, rows))
        self.words += [memory.ctypes.data + start, *type.shape]
        return memory[start : start + type.nbytes].view(type.dtype).reshape(type.shape)

    def check_guards(self) -> None:
        """Raise `AssertionError` where a byte around an array was written."""
        for number, (memory, start, end) in enumerate(self.memory):
            if (memory[:start] != self.filling).any() or (memory[end:] != self.filling).any():
                raise AssertionError(located(f"{self.kernel.name}: bytes around array {number} were written"))


def _bytes_equal(array: Array, filling: int) -> Any:
    """Of each element, whether all its bytes are this one."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(array.size, array.dtype.itemsize)
    return (flat == filling).all(axis=1).reshape(array.shape)
