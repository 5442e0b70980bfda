"""cuBLASLt in NumPy, with the functions of `nvmath.bindings.cublasLt`: it multiplies by what descriptors say, at the
addresses that it gets, and remembers what it was asked.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum
from itertools import count
from typing import Any

import ml_dtypes
import numpy as np

_DTYPES = {0: np.dtype(np.float32), 1: np.dtype(np.float64), 14: np.dtype(ml_dtypes.bfloat16)}
FAST_TF32 = 77


class MatmulDescAttribute(IntEnum):
    TRANSA = 3
    TRANSB = 4
    EPILOGUE = 7
    BIAS_POINTER = 8


class MatrixLayoutAttribute(IntEnum):
    BATCH_COUNT = 5
    STRIDED_BATCH_OFFSET = 6


class MatmulPreferenceAttribute(IntEnum):
    MAX_WORKSPACE_BYTES = 1
    REDUCTION_SCHEME_MASK = 3
    MIN_ALIGNMENT_A_BYTES = 5
    MIN_ALIGNMENT_B_BYTES = 6
    MIN_ALIGNMENT_C_BYTES = 7
    MIN_ALIGNMENT_D_BYTES = 8


class MatmulAlgoConfigAttribute(IntEnum):
    ID = 0


class Epilogue(IntEnum):
    DEFAULT = 1
    RELU = 2
    BIAS = 4
    RELU_BIAS = 6
    GELU = 32
    GELU_BIAS = 36


class ReductionScheme(IntEnum):
    COMPUTE_TYPE = 2


ENUMS = (
    MatmulDescAttribute,
    MatrixLayoutAttribute,
    MatmulPreferenceAttribute,
    MatmulAlgoConfigAttribute,
    Epilogue,
    ReductionScheme,
)

_SIZES = {
    MatmulDescAttribute.TRANSA: 4,
    MatmulDescAttribute.TRANSB: 4,
    MatmulDescAttribute.EPILOGUE: 4,
    MatmulDescAttribute.BIAS_POINTER: 8,
}
_LAYOUT_SIZES = {MatrixLayoutAttribute.BATCH_COUNT: 4, MatrixLayoutAttribute.STRIDED_BATCH_OFFSET: 8}
_ALGORITHM = 66


class cuBLASLtError(Exception):
    """What a status other than success becomes."""


def memory(address: int, nbytes: int) -> Any:
    """The bytes at an address."""
    return np.frombuffer((ctypes.c_uint8 * nbytes).from_address(address), np.uint8)


def _number(address: int, nbytes: int) -> int:
    return int(memory(address, nbytes).view(f"i{nbytes}")[0])


class FakeCublasLt:
    """The module. With `knows` false the heuristic finds nothing."""

    matmul_heuristic_result_dtype = np.dtype(
        [
            ("algo", [("data_", "<u8", (8,))]),
            ("workspace_size", "<u8"),
            ("state", "<i4"),
            ("waves_count", "<f4"),
            ("reserved", "<i4", (4,)),
        ]
    )
    cuBLASLtError = cuBLASLtError

    def __init__(self, knows: bool = True) -> None:
        for enum in ENUMS:
            setattr(self, enum.__name__, enum)
        self.knows = knows
        self.alive: dict[int, dict[str, int]] = {}
        self.asked = 0
        self.calls: list[dict[str, int]] = []
        self._handles = count(1)

    def _new(self, **told: int) -> int:
        handle = next(self._handles)
        self.alive[handle] = told
        return handle

    def create(self) -> int:
        return self._new()

    def destroy(self, handle: int) -> None:
        del self.alive[handle]

    matmul_desc_destroy = matrix_layout_destroy = matmul_preference_destroy = destroy

    def matmul_desc_create(self, compute_type: int, scale_type: int) -> int:
        return self._new(compute=compute_type, scale=scale_type, TRANSA=0, TRANSB=0, EPILOGUE=1, BIAS_POINTER=0)

    def matmul_desc_set_attribute(self, handle: int, attribute: int, address: int, nbytes: int) -> None:
        of = MatmulDescAttribute(attribute)
        assert nbytes == _SIZES[of]
        self.alive[handle][of.name] = _number(address, nbytes)

    def matrix_layout_create(self, dtype: int, rows: int, columns: int, leading: int) -> int:
        assert dtype in _DTYPES
        assert 0 < rows <= leading
        assert columns > 0
        return self._new(
            dtype=dtype, rows=rows, columns=columns, leading=leading, BATCH_COUNT=1, STRIDED_BATCH_OFFSET=0
        )

    def matrix_layout_set_attribute(self, handle: int, attribute: int, address: int, nbytes: int) -> None:
        of = MatrixLayoutAttribute(attribute)
        assert nbytes == _LAYOUT_SIZES[of]
        self.alive[handle][of.name] = _number(address, nbytes)

    def matmul_preference_create(self) -> int:
        return self._new()

    def matmul_preference_set_attribute(self, handle: int, attribute: int, address: int, nbytes: int) -> None:
        self.alive[handle][MatmulPreferenceAttribute(attribute).name] = _number(address, nbytes)

    def matmul_algo_get_heuristic(
        self, handle: int, operation: int, a: int, b: int, c: int, d: int, preference: int, n: int, found: int, got: int
    ) -> None:
        self.asked += 1
        wishes = self.alive[preference]
        assert wishes["REDUCTION_SCHEME_MASK"] == ReductionScheme.COMPUTE_TYPE, "sums in any order"
        if not self.knows:
            raise cuBLASLtError("CUBLAS_STATUS_NOT_SUPPORTED")
        nbytes = n * self.matmul_heuristic_result_dtype.itemsize
        results: Any = memory(found, nbytes).view(self.matmul_heuristic_result_dtype)
        # The first is not allowed, the second takes too much, the third is right.
        results["state"][:3] = 15, 0, 0
        results["workspace_size"][:3] = 0, wishes["MAX_WORKSPACE_BYTES"] + 1, wishes["MAX_WORKSPACE_BYTES"]
        results["algo"]["data_"][:3, 0] = 1, 2, _ALGORITHM
        memory(got, 4).view(np.int32)[0] = 3

    def matmul_algo_config_get_attribute(
        self, algorithm: int, attribute: int, number: int, nbytes: int, written: int
    ) -> None:
        assert (attribute, nbytes) == (MatmulAlgoConfigAttribute.ID, 4)
        memory(number, 4).view(np.int32)[0] = _number(algorithm, 8)
        memory(written, 8).view(np.uint64)[0] = 4

    def matmul(
        self, handle: int, operation: int, alpha: int, a: int, of_a: int, b: int, of_b: int, beta: int,
        c: int, of_c: int, d: int, of_d: int, algorithm: int, workspace: int, workspace_bytes: int, stream: int,
    ) -> None:  # fmt: skip
        assert _number(algorithm, 8) == _ALGORITHM
        assert (workspace == 0) == (workspace_bytes == 0)
        if workspace_bytes:
            memory(workspace, workspace_bytes)[:] = 0xA5
        told, result = self.alive[operation], self._matrices(d, of_d)
        self.calls.append(dict(told, stream=stream, batches=self.alive[of_d]["BATCH_COUNT"]))
        scale = _DTYPES[told["scale"]]
        factors = [
            np.swapaxes(matrices, -1, -2) if turned else matrices
            for matrices, turned in (
                (self._matrices(a, of_a), told["TRANSA"]),
                (self._matrices(b, of_b), told["TRANSB"]),
            )
        ]
        if told["compute"] == FAST_TF32:
            factors = [_to_tf32(factor) for factor in factors]
        of_product, of_added = (memory(at, scale.itemsize).view(scale)[0] for at in (alpha, beta))
        made = of_product * np.matmul(*(factor.astype(scale) for factor in factors))
        if of_added:
            made = made + of_added * self._matrices(c, of_c).astype(scale)
        if told["EPILOGUE"] & Epilogue.BIAS:
            dtype = _DTYPES[self.alive[of_d]["dtype"]]
            rows = result.shape[1]
            made = made + memory(told["BIAS_POINTER"], rows * dtype.itemsize).view(dtype).astype(scale)[:, None]
        if told["EPILOGUE"] & Epilogue.RELU:
            made = np.maximum(made, 0)
        if told["EPILOGUE"] & Epilogue.GELU:
            made = 0.5 * made * (1 + np.tanh(np.sqrt(2 / np.pi) * (made + 0.044715 * made**3)))
        result[:] = made

    def _matrices(self, address: int, layout: int) -> Any:
        """(batch, rows, columns) in the memory of a layout."""
        of = self.alive[layout]
        dtype = _DTYPES[of["dtype"]]
        shape = (of["BATCH_COUNT"], of["rows"], of["columns"])
        strides = (of["STRIDED_BATCH_OFFSET"], 1, of["leading"])
        assert all(stride >= 0 for stride in strides)
        elements = 1 + sum((n - 1) * stride for n, stride in zip(shape, strides))
        flat = memory(address, elements * dtype.itemsize).view(dtype)
        return np.lib.stride_tricks.as_strided(flat, shape, [s * dtype.itemsize for s in strides])


def _to_tf32(x: Any) -> Any:
    """float32 with 10 bits of the fraction, rounded to nearest."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x1000) & np.uint32(0xFFFFE000)).view(np.float32)
