"""Complex numbers as pairs of real ones: what every op of complex numbers gives, by the interpreter and compiled."""

import numpy as np
import pytest
from compiled import run_compiled
from gradloom.ir import OPS, Builder, interpret, is_complex, parse, spec, type_of, verify
from gradloom.passes.simplify.split_complex import SplitComplex
from op_cases import COMPLEX_CASES, assert_matches, sample

BOUNDARY = ("planes", "from_planes")


@pytest.mark.parametrize("case", COMPLEX_CASES, ids=str)
def test_parts_give_what_the_reference_gives(case):
    graph = case.graph()
    verify(graph)
    assert str(parse(str(graph))) == str(graph)
    split = SplitComplex()(graph)
    verify(split)
    inside = [n for n in split.nodes if any(is_complex(v.type.dtype) for v in (*n.inputs, *n.outputs))]
    assert all(node.op.name in BOUNDARY for node in inside)
    arrays = sample(case)
    (expected,), (found,) = interpret(graph, *arrays), interpret(split, *arrays)
    assert type_of(expected) == graph.outputs[0].type
    assert_matches(case, found, expected)


def test_every_op_that_takes_complex_numbers_has_a_row():
    # `copy` of what is in memory, and checks, have no rows; the first simplification drops `custom_vjp`.
    named = {case.name for case in COMPLEX_CASES}
    assert {name for name, op in OPS.items() if op.parts is not None} - named <= {"custom_vjp", "check_finite"}


def test_compiled_programs_of_complex_numbers_give_the_same():
    # One program for all rows: a kernel costs a tenth of a second to compile.
    cases = [case for i, case in enumerate(COMPLEX_CASES) if i % 3 == 0 or case.op.family == "complex"]
    b = Builder()
    outputs, arrays = [], []
    for case in cases:
        inputs = [b.input(t) for t in case.types]
        outputs += b.emit_node(case.op, *inputs, **case.attrs).outputs
        arrays += sample(case)
    graph = b.graph(outputs)
    for case, found, expected in zip(cases, run_compiled(graph, *arrays, threads=2), interpret(graph, *arrays)):
        assert_matches(case, found, expected)


def test_an_output_over_an_input_and_one_output_twice():
    b = Builder()
    w, g = b.input(spec((3,), "complex64"), "w"), b.input(spec((3,), "complex64"), "g")
    new = OPS["sub"](b, w, g)
    graph = b.graph([new, new, w], {0: 0})
    rng = np.random.default_rng(0)
    arrays = [(rng.normal(size=3) + 1j * rng.normal(size=3)).astype("complex64") for _ in range(2)]
    for found, expected in zip(run_compiled(graph, *arrays), (arrays[0] - arrays[1],) * 2 + (arrays[0],), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_complex_numbers_are_divided_without_overflow_and_by_zero_as_numpy_does():
    b = Builder()
    x, y = b.input(spec((5,), "complex128")), b.input(spec((5,), "complex128"))
    graph = b.graph([OPS["div"](b, x, y)])
    above = np.array([1e200 + 1e200j, 1, 1 - 1j, 3j, 2 + 1e-300j])
    below = np.array([1e200 + 1e199j, 1e-200 + 2e-200j, 0, -2j, 1e300 - 1e300j])
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(run_compiled(graph, above, below)[0], above / below, rtol=1e-15)
