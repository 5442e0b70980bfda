"""Products by cuBLASLt, through `nvmath.bindings.cublasLt`: descriptors, and an algorithm that is chosen beforehand.

cuBLASLt thinks in columns: a matrix whose rows are dense is to it the transposed one. So what is computed is
`result.T = right.T @ left.T`, in which every row of ours is a column of its.

The algorithm is the first that the heuristic names for a call: it follows from shapes, strides, the workspace of the
plan, alignment, the card and the version of the library. No budget changes any of them. It may not be asked for while a
stream is captured, so `prepare` comes before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..lowering.launch import Address, Scratch
from ..lowering.library_call import Operand, ProductCall

MODULE = "nvmath.bindings.cublasLt"
PACKAGES = ("nvmath-python", "nvidia-cublas")

Addresses = Callable[[Address], int]
"""Where an address of the plan lies on the device."""

# Of `cudaDataType_t` and `cublasComputeType_t`, by the names of ours.
_DATA_TYPES = {"float32": 0, "float64": 1, "bfloat16": 14}
_COMPUTE_TYPES = {"fp32": 68, "bf16": 68, "tf32": 77, "fp64": 70}
_MOST_ALIGNMENT = 16
"""What the widest load of a thread wants; places of values in the arena are aligned to more."""
_ASKED = 8
"""Algorithms that the heuristic is asked for: the first that is allowed is taken."""


@dataclass(slots=True)
class _Ready:
    """What a call needs but for addresses: descriptors, which the library owns, and the algorithm with its number."""

    operation: int
    layouts: tuple[int, int, int]
    algorithm: Any
    number: int
    scales: Any


class Products:
    """A handle of cuBLASLt on the current device. `bindings` are `nvmath.bindings.cublasLt`, or stand for it.

    Raises `RuntimeError` where the library is not there, or gives no handle.
    """

    def __init__(self, bindings: Any) -> None:
        self._lt = bindings
        try:
            self._handle = bindings.create()
        except bindings.cuBLASLtError as error:
            raise RuntimeError(f"cuBLASLt has no handle: {error}") from error
        self._ready: dict[tuple[ProductCall, tuple[int, ...]], _Ready | None] = {}

    def supports(self, call: ProductCall) -> bool:
        """Whether there is an algorithm for a call, wherever its operands lie."""
        return self._find(call, tuple(operand.dtype.itemsize for operand in _operands(call))) is not None

    def prepare(self, call: ProductCall, address: Addresses) -> None:
        """Choose the algorithm, before the stream on which the call runs is captured."""
        self._for(call, address)

    def run(self, call: ProductCall, address: Addresses, stream: int) -> None:
        """Put a prepared call on a stream."""
        lt, ready = self._lt, self._for(call, address)
        left, right, result = (address(operand.at) for operand in _operands(call))
        if call.bias is not None:
            self._set(lt.matmul_desc_set_attribute, ready.operation, lt.MatmulDescAttribute.BIAS_POINTER,
                      np.int64(address(call.bias)))  # fmt: skip
        a, b, d = ready.layouts
        one, scale = ready.scales.ctypes.data, ready.scales.ctypes.data + ready.scales.itemsize
        added = result if call.added is None else address(call.added)
        workspace = address(call.workspace) if call.workspace_bytes else 0
        algorithm = ready.algorithm.ctypes.data
        lt.matmul(
            self._handle, ready.operation, one, right, a, left, b, scale, added, d, result, d,
            algorithm, workspace, call.workspace_bytes, stream,
        )  # fmt: skip

    def algorithms(self) -> dict[str, int]:
        """The number of the algorithm of each kind of call that was prepared, by what it multiplies."""
        return {_described(call): ready.number for (call, _), ready in self._ready.items() if ready is not None}

    def close(self) -> None:
        """Give all that the library holds back."""
        for ready in filter(None, self._ready.values()):
            self._destroy(ready)
        self._ready.clear()
        if self._handle:
            self._lt.destroy(self._handle)
            self._handle = 0

    # ---- the choice

    def _for(self, call: ProductCall, address: Addresses) -> _Ready:
        left, right, result = (_alignment(address(operand.at)) for operand in _operands(call))
        if call.added is not None:
            result = min(result, _alignment(address(call.added)))
        ready = self._find(call, (left, right, result))
        if ready is None:
            raise RuntimeError(f"cuBLASLt has no algorithm for {_described(call)}")
        return ready

    def _find(self, call: ProductCall, alignments: tuple[int, ...]) -> _Ready | None:
        key = _kind(call), alignments
        if key not in self._ready:
            self._ready[key] = self._choose(call, alignments)
        return self._ready[key]

    def _choose(self, call: ProductCall, alignments: tuple[int, ...]) -> _Ready | None:
        lt = self._lt
        operation, layouts = self._described_to_library(call)
        preference = lt.matmul_preference_create()
        of = lt.MatmulPreferenceAttribute
        left, right, result = alignments
        wishes = {
            of.MAX_WORKSPACE_BYTES: np.uint64(call.workspace_bytes),
            # Parts of sums are added up in the workspace, in their order. In place they would be as they come.
            of.REDUCTION_SCHEME_MASK: np.uint32(lt.ReductionScheme.COMPUTE_TYPE),
            of.MIN_ALIGNMENT_A_BYTES: np.uint32(right),
            of.MIN_ALIGNMENT_B_BYTES: np.uint32(left),
            of.MIN_ALIGNMENT_C_BYTES: np.uint32(result),
            of.MIN_ALIGNMENT_D_BYTES: np.uint32(result),
        }
        for attribute, value in wishes.items():
            self._set(lt.matmul_preference_set_attribute, preference, attribute, value)
        found, count = np.zeros(_ASKED, lt.matmul_heuristic_result_dtype), np.zeros(1, np.int32)
        a, b, d = layouts
        try:
            lt.matmul_algo_get_heuristic(
                self._handle, operation, a, b, d, d, preference, _ASKED, found.ctypes.data, count.ctypes.data
            )
        except lt.cuBLASLtError:
            count[0] = 0  # it answers so where it knows none
        finally:
            lt.matmul_preference_destroy(preference)
        scales = np.array([1, 0 if call.added is None else 1], np.float64 if call.compute == "fp64" else np.float32)
        for result_ in found[: count[0]]:
            if result_["state"] == 0 and result_["workspace_size"] <= call.workspace_bytes:
                algorithm = np.array(result_["algo"])
                return _Ready(operation, layouts, algorithm, self._number(algorithm), scales)
        self._destroy(_Ready(operation, layouts, None, 0, scales))
        return None

    def _described_to_library(self, call: ProductCall) -> tuple[int, tuple[int, int, int]]:
        """Descriptors of the operation, and of the right and left factor and the result as it sees them."""
        lt = self._lt
        number = _DATA_TYPES["float64" if call.compute == "fp64" else "float32"]
        operation = lt.matmul_desc_create(_COMPUTE_TYPES[call.compute], number)
        of = lt.MatmulDescAttribute
        told = {
            of.TRANSA: np.int32(not _has_dense_rows(call.right)),
            of.TRANSB: np.int32(not _has_dense_rows(call.left)),
            of.EPILOGUE: np.uint32(self._epilogue(call)),
        }
        for attribute, value in told.items():
            self._set(lt.matmul_desc_set_attribute, operation, attribute, value)
        if call.bias is not None:
            # The heuristic asks only whether there is one.
            self._set(lt.matmul_desc_set_attribute, operation, of.BIAS_POINTER, np.int64(_MOST_ALIGNMENT))
        assert _has_dense_rows(call.result), "a result has dense rows"
        right, left, result = (self._layout(o, call.batches) for o in (call.right, call.left, call.result))
        return operation, (right, left, result)

    def _epilogue(self, call: ProductCall) -> int:
        of = self._lt.Epilogue
        plain = {"none": of.DEFAULT, "relu": of.RELU, "gelu_tanh": of.GELU}
        biased = {"none": of.BIAS, "relu": of.RELU_BIAS, "gelu_tanh": of.GELU_BIAS}
        return int((plain if call.bias is None else biased)[call.activation])

    def _layout(self, operand: Operand, batches: int) -> int:
        """The matrix in columns whose memory the operand has."""
        lt = self._lt
        lines, length, stride = operand.columns, operand.rows, operand.column_stride
        if _has_dense_rows(operand):
            lines, length, stride = operand.rows, operand.columns, operand.row_stride
        leading = max(length, stride if lines > 1 else 0, 1)
        layout = lt.matrix_layout_create(_DATA_TYPES[operand.dtype.name], length, lines, leading)
        if batches > 1:
            of = lt.MatrixLayoutAttribute
            self._set(lt.matrix_layout_set_attribute, layout, of.BATCH_COUNT, np.int32(batches))
            self._set(lt.matrix_layout_set_attribute, layout, of.STRIDED_BATCH_OFFSET, np.int64(operand.batch_stride))
        return layout

    def _number(self, algorithm: Any) -> int:
        """The library's own number of an algorithm."""
        number, written = np.zeros(1, np.int32), np.zeros(1, np.uint64)
        attribute = int(self._lt.MatmulAlgoConfigAttribute.ID)
        self._lt.matmul_algo_config_get_attribute(
            algorithm.ctypes.data, attribute, number.ctypes.data, number.nbytes, written.ctypes.data
        )
        return int(number[0])

    @staticmethod
    def _set(setter: Any, of: int, attribute: Any, value: Any) -> None:
        held = np.array(value)
        setter(of, int(attribute), held.ctypes.data, held.nbytes)

    def _destroy(self, ready: _Ready) -> None:
        for layout in ready.layouts:
            self._lt.matrix_layout_destroy(layout)
        self._lt.matmul_desc_destroy(ready.operation)


def _operands(call: ProductCall) -> tuple[Operand, Operand, Operand]:
    return call.left, call.right, call.result


def _has_dense_rows(operand: Operand) -> bool:
    """Whether an operand is read by rows: else by columns."""
    dense = operand.columns == 1 or operand.column_stride == 1
    return dense and (operand.rows == 1 or operand.row_stride >= operand.columns)


def _alignment(address: int) -> int:
    """The largest power of two that divides an address, up to what counts."""
    return min(_MOST_ALIGNMENT, address & -address or _MOST_ALIGNMENT)


_NOWHERE = Scratch(0)


def _kind(call: ProductCall) -> ProductCall:
    """The call with no addresses: what an algorithm is chosen for."""
    left, right, result = (replace(operand, at=_NOWHERE) for operand in _operands(call))
    added, bias = (None if at is None else _NOWHERE for at in (call.added, call.bias))
    return replace(
        call, left=left, right=right, result=result, workspace=_NOWHERE, added=added, bias=bias, concurrent=False
    )


def _described(call: ProductCall) -> str:
    left, right = call.left, call.right
    shapes = f"({left.rows}, {left.columns}) x ({right.rows}, {right.columns})"
    batch = f"{call.batches} x " if call.batches > 1 else ""
    return f"{batch}{shapes} of {left.dtype} in {call.compute}, {call.workspace_bytes} bytes of workspace"
