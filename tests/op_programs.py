"""Many rows of the table of ops as one graph, and which of its outputs are wrong.

    assert not wrong_rows(plain, cases, run_compiled)

A program of its own for every row would take most of the time of a test. A row that is wrong is named; where the
program of all rows does not run at all, every row is tried alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np
from gradloom.ir import OPS, Array, Builder, Graph, Value, interpret, type_of
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import run_passes
from op_cases import OpCase, assert_matches, sample
from strided import KINDS
from unjitted import run_unjitted


class Program:
    """A graph under construction with the arrays of its inputs, and the row of the table behind each output."""

    def __init__(self) -> None:
        self.b = Builder()
        self.arrays: list[Array] = []
        self.outputs: list[Value] = []
        self.rows: list[OpCase] = []

    def given(self, array: Array, computed: bool = False) -> Value:
        """A value that holds `array`: an input, or one that is computed from it."""
        x = self._input(array)
        if not computed:
            return x
        return OPS["or" if array.dtype.kind == "b" else "add"](self.b, x, self._input(np.zeros_like(array)))

    def _input(self, array: Array) -> Value:
        self.arrays.append(array)
        return self.b.input(type_of(array))

    def views(
        self, arrays: Iterable[Array], kind: str, computed: Callable[[int], bool], kept: Collection[int] = ()
    ) -> list[Value] | None:
        """Values that hold `arrays`, as views of `kind` where they can be; None where none can be. Arrays of the
        numbers `kept` stay as they are.
        """
        views = [(None if i in kept else KINDS[kind](array)) or (array, None) for i, array in enumerate(arrays)]
        if all(view is None for _, view in views):
            return None
        values = [self.given(source, computed(i)) for i, (source, _) in enumerate(views)]
        return [value if view is None else view(self.b, value) for value, (_, view) in zip(values, views)]

    def apply(self, case: OpCase, operands: Sequence[Value]) -> Value:
        """The op of a row on other operands of the same types."""
        return self.b.emit(case.op, *operands, **case.attrs)

    def returns(self, case: OpCase, *values: Value) -> None:
        """Enter outputs that a row is responsible for."""
        self.outputs += values
        self.rows += [case] * len(values)

    def wrong_rows(self, run: Callable[..., Sequence[Array]]) -> list[str]:
        """What `run(graph, *arrays)` computes otherwise than the interpreter."""
        graph = self.b.graph(self.outputs)
        expected = interpret(graph, *self.arrays)
        wrong: list[str] = []
        for case, actual, wanted in zip(self.rows, run(graph, *self.arrays), expected, strict=True):
            try:
                assert_matches(case, actual, wanted)
            except AssertionError as error:
                wrong.append(f"{case}: {error}")
        return wrong


def plain(cases: Iterable[OpCase]) -> Program:
    """Each of `cases` on its inputs."""
    program = Program()
    for case in cases:
        program.returns(case, program.apply(case, [program.given(array) for array in sample(case)]))
    return program


def wrong_rows(
    make: Callable[[Sequence[OpCase]], Program], cases: Sequence[OpCase], run: Callable[..., Sequence[Array]]
) -> list[str]:
    """The rows of `cases` that `run` computes wrongly in one program, or alone where that program does not run."""
    try:
        return make(cases).wrong_rows(run)
    except Exception:
        found: list[str] = []
        for case in cases:
            try:
                found += make([case]).wrong_rows(run)
            except Exception as error:
                found.append(f"{case}: {error!r}")
        return found or ["only all rows together do not run"]


def unjitted(graph: Graph, *arrays: Array) -> list[Array]:
    """The outputs by kernels as plain Python, which notice every access outside of their memory."""
    return run_unjitted(plan(run_passes(graph), threads=3), *arrays)
