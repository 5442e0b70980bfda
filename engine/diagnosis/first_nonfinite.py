"""The first operation that made a NaN or an infinity: a step that is not finite, run again op by op to find it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from ...ir import Array, Graph, Node, Value, is_float
from ...ir.printable import printable
from ...passes.graph.scan import Scan


@dataclass(frozen=True)
class Finding:
    """Where something that is not finite came from: a node, or an input or a constant of the program."""

    place: int
    """The number of the node in its program, -1 for an input."""
    what: str


class _Run:
    """One run of a graph by the interpreter, which notes of each value whether it holds a NaN or an infinity.

    An op *makes* them where it gives some and reads none. Infinities that someone wrote, such as the -inf of a mask,
    are made by no op; a NaN is also made where an op reads infinities and no NaN, as in inf - inf.
    """

    def __init__(self, graph: Graph, inputs: Sequence[Array], part: int = 0) -> None:
        self.graph = graph
        self.nan: set[Value] = set()
        self.infinite: set[Value] = set()
        self.made: dict[Node, Finding] = {}
        self.examples: dict[Value, str] = {}
        values = dict(zip(graph.inputs, map(np.asarray, inputs)))  # which may be a GPU's
        for value, array in values.items():
            self._note(value, array)
        last = {value: i for i, node in enumerate(graph.nodes) for value in node.inputs}
        keep = set(graph.outputs)
        for i, node in enumerate(graph.nodes):
            given = [values[v] for v in node.inputs]
            with np.errstate(all="ignore"):
                # What was checked was found out before.
                if node.op.is_check:
                    result = given[0]
                elif node.op.on_ranks is not None:
                    result = _alone(node, given, part)
                else:
                    result = node.op.reference(*given, **node.attrs)
            arrays = [np.asarray(part) for part in (result if isinstance(result, tuple) else (result,))]
            for value, array in zip(node.outputs, arrays):
                values[value] = array
                self._note(value, array)
            if node.inputs and self._makes(node):
                self.made[node] = _inside(node, given, i) or Finding(i, _told(node, given, arrays))
            for value in node.inputs:
                if last[value] == i and value not in keep:
                    values.pop(value, None)
        self.outputs = [values[v] for v in graph.outputs]

    def _note(self, value: Value, array: Array) -> None:
        if not is_float(array.dtype) or np.isfinite(array).all():
            return
        nan = np.isnan(array)
        if nan.any():
            self.nan.add(value)
        if np.isinf(array).any():
            self.infinite.add(value)
        bad = nan if nan.any() else ~np.isfinite(array)
        self.examples[value] = f"{array[bad].flat[0]}{_index(np.argwhere(bad)[0])}"

    def _makes(self, node: Node) -> bool:
        made_nan = not self.nan.isdisjoint(node.outputs) and self.nan.isdisjoint(node.inputs)
        read = not self.nan.isdisjoint(node.inputs) or not self.infinite.isdisjoint(node.inputs)
        return made_nan or (not read and not self.infinite.isdisjoint(node.outputs))

    def sources(self, outputs: Iterable[Value]) -> tuple[list[Finding], list[Finding]]:
        """Where what is not finite in `outputs` came from: ops and inputs, and those that made a NaN of infinities that
        someone wrote. Along the way only what is not finite is followed, and of NaNs only NaNs.
        """
        found: list[Finding] = []
        of_written: list[Finding] = []
        seen: set[Value] = set()
        stack = [v for v in outputs if v in self.nan or v in self.infinite]
        while stack:
            value = stack.pop()
            if value in seen:
                continue
            seen.add(value)
            node = value.node
            if node is None:
                found.append(Finding(-1, f"the input {value.name} holds {self.examples[value]}"))
                continue
            nan = [v for v in node.inputs if v in self.nan]
            bad = nan if value in self.nan and nan else [v for v in node.inputs if v in self.nan or v in self.infinite]
            if node in self.made and not bad:
                found.append(self.made[node])
            elif node in self.made:
                of_written.append(self.made[node])
            stack += bad
        return found, of_written


def first_nonfinite(graph: Graph, inputs: Sequence[Array], outputs: Iterable[int], part: int = 0) -> str:
    """What made the first NaN or infinity that reaches the `outputs` of these numbers, in words; "" if nothing does.

    A graph that ranks run is run as if this `part` of the batch were all.
    """
    run = _Run(graph, inputs, part)
    found, of_written = run.sources(graph.outputs[i] for i in outputs)
    first = min(found, key=lambda finding: finding.place, default=None)
    nan = min(of_written, key=lambda finding: finding.place, default=None)
    if first is None:
        return "" if nan is None else nan.what
    if nan is not None:
        return f"{first.what}; then {nan.what}"
    return first.what


def _alone(node: Node, given: Sequence[Array], part: int) -> Array:
    """What a collective gives where no rank is there but this one: what it was given, in the shape that it gives."""
    kind = node.output.type
    if not given:
        return np.asarray(part, kind.dtype)
    return np.resize(given[0], kind.shape)


def _runs(node: Node, given: Sequence[Array]) -> Iterator[tuple[Graph, list[Array], str]]:
    """What runs inside a node, one after another: a graph with its inputs, in whose place its outputs are put."""
    if node.op.is_cond:
        branch: Graph = node.attrs["true" if given[0] else "false"]
        yield branch, list(given[1:]), ""
    elif node.op.is_while:
        body: Graph = node.attrs["body"]
        consts, state = list(given[: node.attrs["consts"]]), list(given[node.attrs["consts"] :])
        for t in count():
            if not state[0]:
                return
            run = [*consts, *state]
            yield body, run, f", in iteration {t} of a loop"
            state = run
    elif node.op.is_scan:
        loop = Scan(node)
        shared, carries, xs = loop.split(given)
        state = list(carries)
        for t in reversed(range(loop.length)) if loop.reverse else range(loop.length):
            run = [*shared, *state, *(x[t] for x in xs)]
            yield loop.body, run, f", in iteration {t} of a loop"
            state = run[: loop.carry_count]


def _inside(node: Node, given: Sequence[Array], place: int) -> Finding | None:
    """For a loop, what made it in the first iteration where it appears; for a `cond`, what made it in its branch."""
    for graph, inputs, where in _runs(node, given):
        run = _Run(graph, inputs)
        found, of_written = run.sources(graph.outputs)
        # What goes in comes from outside, where it is told.
        made = [finding for finding in found if finding.place >= 0] or of_written
        first = min(made, key=lambda finding: finding.place, default=None)
        if first is not None:
            return Finding(place, f"{first.what}{where}")
        inputs[:] = run.outputs
    return None


_PARTS = {"backward": ", in its derivative", "recompute": ", in its derivative", "optimizer": ", in the update"}


def _told(node: Node, given: Sequence[Array], results: Sequence[Array]) -> str:
    """What a node made of what, and where the user wrote it."""
    result = next(array for array in results if is_float(array.dtype) and not np.isfinite(array).all())
    nan = np.isnan(result)
    bad = nan if nan.any() else ~np.isfinite(result)
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    example = ""
    if node.op.is_elementwise:
        example = f": {node.op.name}({', '.join(_number(array[index]) for array in given)}) is {result[index]}"
        example += _index(index)
    kind = "NaN" if nan.any() else "an infinity"
    origin = node.origin
    where = f" at {origin.source}" if origin.source else ""
    where += f" in {origin.scope}" if origin.scope else ""
    where += _PARTS.get(origin.role, "")
    return printable(f"`{node.op.name}` made {kind}{where}{example}")


def _number(value: object) -> str:
    return str(value) if not isinstance(value, np.floating) else f"{value:.6g}"


def _index(index: Sequence[int]) -> str:
    return f" at [{', '.join(map(str, map(int, index)))}]" if len(index) else ""
