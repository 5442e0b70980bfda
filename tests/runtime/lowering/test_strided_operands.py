"""Every op of the table on operands that are views: transposed, sliced, broadcast, reversed, against the interpreter.

An op that reads such an operand as if its elements stood one after another gives wrong numbers and no error. Every row
is tried with every kind of view by kernels as plain Python, whose addresses are those of the machine code. By machine
code every row is tried with one kind, and every op with all. What differs least from the rest is run by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from compiled import run_compiled
from gradloom.ir import OPS, Builder, interpret, spec
from gradloom.passes.simplify import canonicalize
from gradloom.runtime.lowering.launch import Pointer
from op_cases import CASES, OpCase, sample
from op_programs import Program, unjitted, wrong_rows
from strided import KINDS, REPEATING

READING = [case for case in CASES if case.inputs]
FAMILIES = sorted({case.op.family for case in READING})
NAMED = ("transposed", "sliced", "broadcast", "reversed")
BY_PYTHON = [kind if kind in NAMED else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
# One loop reads the operands of all elementwise ops.
BY_MACHINE = [
    pytest.param(family, kind, marks=pytest.mark.slow)
    if family == "elementwise" and kind in ("broadcast", "reversed")
    else (family, kind)
    for family in FAMILIES
    for kind in NAMED
]


def kept(case: OpCase, kind: str) -> set[int]:
    """The operands of a row that are not to be views of `kind`."""
    return {n for n, i in enumerate(case.inputs) if i.diagonal} if kind in REPEATING else set()


def reads_views(kind: str, computed: int = 0) -> Callable[[Iterable[OpCase]], Program]:
    """The program of the rows that have an operand which can be a view of `kind`, with all such operands as views: by
    turns of inputs and of computed values, in the other order with `computed`.
    """

    def make(cases: Iterable[OpCase]) -> Program:
        program = Program()
        for case in cases:
            turn = case.number + computed
            operands = program.views(sample(case), kind, lambda i, turn=turn: (turn + i) % 2 == 1, kept(case, kind))
            if operands is not None:
                program.returns(case, program.apply(case, operands))
        return program

    return make


def is_read_through_views(cases: Iterable[OpCase]) -> Program:
    """Each of `cases` on plain operands, with its result read through views."""
    program = Program()
    for case in cases:
        b, result = program.b, program.apply(case, [program.given(array) for array in sample(case)])
        shape, axes = result.type.shape, tuple(range(result.type.ndim))
        start = tuple(min(1, n) for n in shape)
        program.returns(
            case,
            OPS["transpose"](b, result, perm=axes[1:] + axes[:1]),
            OPS["slice"](b, result, start=start, stop=shape, step=(2,) * len(axes)),
            OPS["broadcast"](b, result, shape=(*shape, 2), axes=axes),
            OPS["reverse"](b, result, axes=axes),
        )
    return program


def of(family: str) -> list[OpCase]:
    return [case for case in READING if case.op.family == family]


@pytest.mark.parametrize("kind", BY_PYTHON)
@pytest.mark.parametrize("family", FAMILIES)
def test_un_jitted_kernels_read_views_as_the_interpreter_does(family: str, kind: str):
    assert not wrong_rows(reads_views(kind), of(family), unjitted)


def dealt(cases: Iterable[OpCase], kind: str) -> list[OpCase]:
    """The rows of `cases` that are tried with `kind` by machine code: of each op every fourth, but one at least."""
    k = NAMED.index(kind)
    of_op: dict[str, list[OpCase]] = {}
    for case in cases:
        arrays = [a for i, a in enumerate(sample(case)) if i not in kept(case, kind)]
        if any(len(set(map(str, a.flat))) > 1 for a in arrays) and any(KINDS[kind](a) for a in arrays):
            of_op.setdefault(case.name, []).append(case)
    return [case for rows in of_op.values() for case in rows[k % len(rows) :: len(NAMED)]]


@pytest.mark.parametrize(("family", "kind"), BY_MACHINE)
def test_machine_code_reads_views_as_the_interpreter_does(family: str, kind: str):
    assert not wrong_rows(reads_views(kind, computed=1), dealt(of(family), kind), run_compiled)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_result_is_read_through_views_as_the_interpreter_does(family: str):
    assert not wrong_rows(is_read_through_views, of(family), unjitted)


@pytest.mark.parametrize("kind", NAMED)
def test_every_op_with_operands_is_tried_with_every_kind_of_view(kind: str):
    scalars_only = {"random_bits"}  # which can be sliced and no more
    expected = {case.name for case in READING} - (set() if kind == "sliced" else scalars_only)
    assert {case.name for case in reads_views(kind)(READING).rows} == expected
    assert {case.name for case in dealt(READING, kind)} == expected - scalars_only


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_reads_views_as_the_interpreter_does(kind: str):
    inner = Builder()
    weight, carry, x = (inner.input(spec((3, 2), "float32")) for _ in range(3))
    carried = OPS["add"](inner, OPS["mul"](inner, carry, weight), x)
    body = inner.graph([carried, OPS["neg"](inner, carried)])
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype("float32") for shape in ((3, 2), (3, 2), (4, 3, 2))]
    program = Program()
    outputs = []
    for computed in (0, 1):
        operands = program.views(arrays, kind, lambda i, first=computed: (first + i) % 2 == 1)
        assert operands is not None
        attrs: dict[str, Any] = {"body": body, "consts": 1, "carries": 1, "length": 4, "reverse": computed == 1}
        outputs += program.b.emit_node(OPS["scan"], *operands, **attrs).outputs
    graph = program.b.graph(outputs)
    expected = interpret(graph, *program.arrays)
    for actual, wanted in zip(run_compiled(graph, *program.arrays), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-6)


# Planted faults: an op that is declared or lowered wrongly is found by what is asserted above.


@pytest.mark.parametrize("kind", NAMED)
@pytest.mark.parametrize(
    "name", sorted({c.name for c in READING if not c.op.accepts_strides and c.op.on_ranks is None})
)
def test_an_op_that_is_said_to_read_views_and_does_not_is_found(name: str, kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(canonicalize, "_is_tiled", lambda node: False)
    cases = [case for case in CASES if case.name == name][:8]
    object.__setattr__(OPS[name], "accepts_strides", True)
    try:
        assert wrong_rows(reads_views(kind), cases, unjitted)
    finally:
        object.__setattr__(OPS[name], "accepts_strides", False)


@pytest.mark.parametrize("kind", ["offset", "sliced", "reversed"])
def test_a_lowering_that_forgets_where_a_view_begins_is_found(kind: str, monkeypatch: pytest.MonkeyPatch):
    cases = [case for case in CASES if case.name == "dot"]
    monkeypatch.setattr(Pointer, "to", staticmethod(lambda view: Pointer(view.base)))
    wrong = wrong_rows(reads_views(kind), cases, unjitted)
    assert wrong
    assert all(row.startswith("dot-") for row in wrong)
