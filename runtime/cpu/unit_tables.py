"""Which unit each call of a program is of, and what memory it reads and writes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from ...ir import Node
from ...passes.memory.plan import Plan
from ..lowering.launch import Call
from ..lowering.launch_list import lower
from .tables import Address, Frame, Tables


@dataclass(frozen=True, slots=True)
class Range:
    """So many bytes from an address on, which a unit reads or writes; or as many anywhere in `table_bytes`."""

    start: Address
    nbytes: int
    written: bool
    table_bytes: int = 0

    def at(self, tile: int, iteration: int, inner: int) -> tuple[int, int]:
        """Base and offset in an iteration; parallel iterations are tiles."""
        moved = tile * self.start.parallel_stride + iteration * self.start.stride + inner * self.start.inner_stride
        return self.start.base, self.start.offset + moved


@dataclass(frozen=True, slots=True)
class UnitUse:
    """A unit in its place in the program, with the memory of what it reads and makes; `node` is None where inputs that
    are outputs are copied to.
    """

    node: Node | None
    ranges: tuple[Range, ...]


class UnitTables(Tables):
    """The tables of a plan without addresses of kernels, and the unit of each call."""

    def __init__(self, plan: Plan) -> None:
        self.units: list[UnitUse] = []
        self._unit_of_call: list[int] = []
        super().__init__(lower(plan), defaultdict(int))

    def units_of(self, first: int, count: int) -> list[UnitUse]:
        """The units of so many calls from call `first` on, in their order."""
        return [self.units[i] for i in dict.fromkeys(self._unit_of_call[first : first + count])]

    def _begin_unit(self, node: Node | None, frame: Frame) -> None:
        self.units.append(UnitUse(node, () if node is None or node.op.bodies else tuple(_ranges(node, frame))))

    def _write(self, call: Call, words: list[tuple[int, int, int, int, int, int, int]]) -> None:
        super()._write(call, words)
        self._unit_of_call.append(len(self.units) - 1)


def _ranges(node: Node, frame: Frame) -> Iterator[Range]:
    plan = frame.plan
    rows = _row_bytes(node, plan)
    for value in dict.fromkeys(node.inputs):
        if rows is not None and value is node.inputs[0]:
            yield Range(frame.read(value), rows, False, value.type.nbytes)
            continue
        # A broadcast reads less than it has elements, a slice less than lies behind its first one.
        yield Range(frame.read(value), min(value.type.nbytes, plan.views[value].base.type.nbytes), False)
    for value in node.outputs:
        if value in plan.locations:
            among = rows is not None and node in plan.in_place
            nbytes = rows if among and rows is not None else value.type.nbytes
            yield Range(frame.at(value), nbytes, True, value.type.nbytes if among else 0)


def _row_bytes(node: Node, plan: Plan) -> int | None:
    """Bytes of the rows of its first operand that a look-up reads, or a scatter writes over; None where a unit reads
    all of it.
    """
    if node.op.family != "indexing":
        return None
    if node.op.only_moves:
        return node.output.type.nbytes
    return node.inputs[2].type.nbytes if node in plan.in_place and len(node.inputs) > 2 else None
