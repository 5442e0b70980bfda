"""Products by cuBLASLt, by a stand-in that multiplies as descriptors say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compiled import run_executable
from fake_cublaslt import ENUMS, FakeCublasLt
from gpu_libraries import program
from gradloom.ir import Graph
from gradloom.runtime.cuda.products import MODULE, Products
from gradloom.runtime.lowering.launch import Scratch
from gradloom.runtime.lowering.library_call import Operand, ProductCall
from op_cases import CASES
from op_programs import plain, wrong_rows

ROWS = [case for case in CASES if case.op.family == "contraction" and case.types[0].dtype.kind == "f"]
RNG = np.random.default_rng(5)


def test_every_row_of_products_is_right_by_the_library():
    made: list[int] = []

    def run(graph: Graph, *arrays: Any) -> list[Any]:
        built = program(graph)
        outputs = run_executable(built, graph, arrays)[0]
        made.append(len(built.calls))
        return outputs

    assert not wrong_rows(plain, ROWS, run)
    assert made[0] > len(ROWS) // 2


class Matrices:
    """Arrays of a batch, at their addresses, as the operands of a call."""

    def __init__(self, m: int, n: int, k: int, batches: int = 1, dtype: Any = np.float32) -> None:
        self.left, self.right, self.bias, self.result, self.work = (
            RNG.normal(size=shape).astype(dtype)
            for shape in ((batches, m, k), (batches, k, n), (n,), (batches, m, n), (64,))
        )

    def call(self, by_columns: tuple[bool, bool] = (False, False), **told: Any) -> ProductCall:
        operands = [
            operand(array, turned, i)
            for i, (array, turned) in enumerate(zip((self.left, self.right, self.result), (*by_columns, False)))
        ]
        told = {"compute": "fp64" if self.left.dtype == np.float64 else "fp32", "workspace_bytes": 0, **told}
        return ProductCall(*operands, batches=len(self.left), workspace=Scratch(4), **told)

    def run(self, call: ProductCall, products: Products) -> Any:
        held = [np.ascontiguousarray(a) for a in (self.left, self.right)]
        for i, o in enumerate((call.left, call.right)):
            if o.column_stride != 1 and o.columns > 1:
                held[i] = np.ascontiguousarray(held[i].swapaxes(1, 2))
        arrays = [*held, self.result, self.bias, self.work]

        def address(at: Any) -> int:
            return arrays[at.offset].ctypes.data

        products.prepare(call, address)
        products.run(call, address, 7)
        return self.result


def operand(array: Any, by_columns: bool, number: int) -> Operand:
    rows, columns = array.shape[1:]
    strides = (1, rows) if by_columns else (columns, 1)
    return Operand(Scratch(number), array.dtype, rows, columns, *strides, rows * columns)


SIZES = [(1, 1, 1), (3, 1, 5), (1, 7, 2), (6, 5, 1), (17, 9, 33)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batches", [1, 3])
def test_factors_may_be_transposed_and_batched(dtype: Any, batches: int):
    for m, n, k in SIZES:
        for by_columns in ((False, False), (False, True), (True, False), (True, True)):
            matrices = Matrices(m, n, k, batches, dtype)
            found = matrices.run(matrices.call(by_columns), Products(FakeCublasLt()))
            np.testing.assert_allclose(found, matrices.left @ matrices.right, 1e-4, 1e-4)


def test_biases_activations_and_sums_are_part_of_the_call():
    for activation in ("none", "relu", "gelu_tanh"):
        for bias in (None, Scratch(3)):
            for added in (None, Scratch(2)):
                matrices = Matrices(5, 4, 3)
                x = matrices.left @ matrices.right + (0 if added is None else matrices.result)
                x = x + (0 if bias is None else matrices.bias)
                gelu = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
                expected = {"none": x, "relu": np.maximum(x, 0), "gelu_tanh": gelu}[activation]
                call = matrices.call(activation=activation, bias=bias, added=added)
                np.testing.assert_allclose(matrices.run(call, Products(FakeCublasLt())), expected, 1e-4, 1e-4)


def test_tf32_rounds_the_factors():
    matrices = Matrices(5, 4, 3)
    exact = matrices.left @ matrices.right
    rounded = matrices.run(matrices.call(compute="tf32"), Products(FakeCublasLt())).copy()
    assert 1e-7 < np.abs(rounded - exact).max() < 1e-2


def test_an_algorithm_is_chosen_once_for_all_places_of_one_alignment():
    fake, matrices = FakeCublasLt(), Matrices(5, 4, 3)
    products = Products(fake)
    call = matrices.call(workspace_bytes=64)
    for _ in range(3):
        matrices.run(call, products)
    assert fake.asked == 1
    assert [told["stream"] for told in fake.calls] == [7, 7, 7]
    assert list(products.algorithms().values()) == [66]
    products.close()
    assert not fake.alive


def test_alignment_is_of_the_addresses_and_no_more_than_counts():
    asked: list[tuple[int, ...]] = []

    class Listening(FakeCublasLt):
        def matmul_algo_get_heuristic(self, *arguments: Any) -> None:
            wishes = self.alive[arguments[6]]
            asked.append(tuple(wishes[f"MIN_ALIGNMENT_{name}_BYTES"] for name in "ABD"))
            super().matmul_algo_get_heuristic(*arguments)

    products, call = Products(Listening()), Matrices(5, 4, 3).call()
    assert products.supports(call)
    products.prepare(call, lambda at: {0: 256, 1: 1024 + 8, 2: 4}[at.offset])
    assert asked == [(4, 4, 4), (8, 16, 4)]


def test_what_the_library_does_not_know_is_not_supported():
    fake = FakeCublasLt(knows=False)
    products, call = Products(fake), Matrices(5, 4, 3).call()
    assert not products.supports(call)
    assert len(fake.alive) == 1  # the handle
    with pytest.raises(RuntimeError, match=r"no algorithm for \(5, 3\) x \(3, 4\) of float32 in fp32, 0 bytes"):
        products.prepare(call, lambda at: 256)


@pytest.mark.cuda
def test_the_stand_in_has_the_numbers_of_the_real_library():
    real: Any = pytest.importorskip(MODULE)
    for enum in ENUMS:
        assert {m.name: int(m) for m in enum}.items() <= {m.name: int(m) for m in getattr(real, enum.__name__)}.items()
    assert np.dtype(real.matmul_heuristic_result_dtype) == FakeCublasLt.matmul_heuristic_result_dtype
    functions = [name for name, f in vars(FakeCublasLt).items() if callable(f) and not name.startswith("_")]
    assert all(callable(getattr(real, name)) for name in functions)
    for name, size in (("TRANSA", 4), ("EPILOGUE", 4), ("BIAS_POINTER", 8)):
        attribute = getattr(real.MatmulDescAttribute, name)
        assert np.dtype(real.get_matmul_desc_attribute_dtype(attribute)).itemsize == size
    types = pytest.importorskip("nvmath").CudaDataType
    assert [int(getattr(types, name)) for name in ("CUDA_R_32F", "CUDA_R_64F", "CUDA_R_16BF")] == [0, 1, 14]
    compute = pytest.importorskip("nvmath.bindings.cublas").ComputeType
    kinds = ("COMPUTE_32F", "COMPUTE_32F_FAST_TF32", "COMPUTE_64F")
    assert [int(getattr(compute, name)) for name in kinds] == [68, 77, 70]
