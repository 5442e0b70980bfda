"""Element-wise ops on a GPU have the bits of the CPU's kernels, in the emulator."""

import numpy as np
import pytest
from compiled import run_compiled
from gpu_emulated import run_emulated
from gradloom.runtime.codegen.gpu_math import BINARY, UNARY
from gradloom.runtime.lowering.elementwise import expression
from op_cases import CASES
from op_programs import Program, plain

OWN_ON_A_GPU = [f"np.{function.__name__}(" for function in (*UNARY, *BINARY)]
"""What CPU kernels take from the C library, and GPU kernels compute by themselves, within a few units in the last
place."""


def has_the_bits_of_a_cpu(case):
    """Whether an op is computed by the same source on both."""
    if not case.op.is_elementwise or case.op.is_check:
        return False
    (node,) = case.graph().nodes
    text = expression(node, [f"x{i}" for i in range(len(node.inputs))])
    return not any(function in text for function in OWN_ON_A_GPU)


ROWS = [case for case in CASES if has_the_bits_of_a_cpu(case)]


SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3e38, -88.5, 88.5, 1e-3, 7.25])


def wrong_bits(program):
    """The rows of a program of which any bit differs; a NaN is a NaN."""
    graph = program.b.graph(program.outputs)
    wrong = []
    for case, here, there in zip(
        program.rows,
        run_compiled(graph, *program.arrays),
        run_emulated(graph, *program.arrays, checked=False),
        strict=True,
    ):
        same = here.tobytes() == there.tobytes()
        if not same and here.dtype.kind == "f":
            nan = np.isnan(here) & np.isnan(there)
            same = np.where(nan, 0, here).tobytes() == np.where(nan, 0, there).tobytes()
        if not same:
            wrong.append(str(case))
    return wrong


def of_each_op(dtype):
    """A row of each op with operands of a dtype."""
    return list({case.name: case for case in ROWS if {t.dtype for t in case.types} == {np.dtype(dtype)}}.values())


def on_special_values(dtype):
    """Each op on all pairs of numbers at the edges of a dtype."""
    program = Program()
    one, other = (part.ravel() for part in np.meshgrid(SPECIAL.astype(dtype), SPECIAL.astype(dtype)))
    values = [program.given(part) for part in (one, other, np.roll(one, 7))]
    for case in of_each_op(dtype):
        if case.graph().outputs[0].type.dtype.kind in "fb":
            program.returns(case, program.apply(case, values[: len(case.types)]))
    return program


def test_a_row_of_each_op_has_the_bits_of_the_cpu():
    rows = of_each_op("float32")
    assert len(rows) > 40
    assert not wrong_bits(plain(rows))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_every_row_has_the_bits_of_the_cpu(part):
    assert not wrong_bits(plain(ROWS[part::8]))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ops_have_the_bits_of_the_cpu_at_the_edges_of_a_dtype(dtype):
    assert not wrong_bits(on_special_values(dtype))
