"""Where the values of a plan for a GPU are while it runs: addresses, which move on with the iterations of its loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...ir import Node, Value
from ...passes.graph.scan import Scan
from ...passes.memory.plan import Plan
from .launch import Arg, Call, KernelAddress, Pointer, RankNumber, Ranks, Routine, Scratch, Tile, Transfer
from .launch_list import Fork, Item, LaunchList, Loop, Unit, stages_of

Part = tuple["Item | Transfer | Fork", "Node | None", "Places"]
"""What runs, or a fork of which it is decided as it runs, with its node and the places of its values. No node is a copy
to where an input is.
"""

Extent = tuple[int, int]
"""The address of the first byte of some memory, and its bytes."""


@dataclass(frozen=True)
class Places:
    """Addresses of the arena of a plan, of the inputs and outputs of its graph, of the constants of each plan, by its
    `id`, and of its arena in host memory; and the number of the rank that runs it.
    """

    plan: Plan
    arena: int
    inputs: Sequence[int]
    outputs: Sequence[int]
    constants: Mapping[int, Sequence[int]]
    host: int = 0
    rank: int = 0

    def at(self, value: Value) -> int:
        """Where the memory of a value that is no view begins."""
        location = self.plan.locations[value]
        if location.place == "arena":
            return self.arena + location.offset
        if location.place == "host":
            return self.host + location.offset
        constants = self.constants[id(self.plan)]
        return {"input": self.inputs, "output": self.outputs, "constant": constants}[location.place][location.index]

    def read(self, value: Value) -> int:
        """Where a value that may be a view begins."""
        view = self.plan.views[value]
        return self.at(view.base) + view.offset * value.type.dtype.itemsize

    def word(self, arg: Arg) -> int:
        """An argument of a kernel as it reads it."""
        match arg:
            case Pointer():
                return self.at(arg.value) + arg.offset
            case Scratch(worker_stride=0, tile_stride=0):
                return self.arena + arg.offset
            case RankNumber():
                return self.rank
            case Tile() | Scratch() | KernelAddress() | Routine() | Ranks():
                raise AssertionError(f"{arg} is no argument of a kernel of a GPU")
            case _:
                return arg

    def extents(self, call: Call) -> Iterator[Extent]:
        """The memory that a call may access: that of its values, and what follows the beginning of its scratch."""
        for arg in call.args:
            match arg:
                case Pointer():
                    yield self.at(arg.value), arg.value.type.nbytes
                case Scratch():
                    yield self.arena + arg.offset, self.plan.arena_bytes - arg.offset
                case _:
                    pass

    def iteration(self, loop: Loop, t: int) -> Places:
        """The places of a loop's body in iteration `t`."""
        scan, body = Scan(loop.node), loop.body.plan

        def slices(start: int, value: Value) -> int:
            return start + t * (value.type.nbytes // max(scan.length, 1))

        carried = [self.at(v) for v in scan.last_carries]
        inputs = [*map(self.read, scan.consts), *carried, *(slices(self.read(v), v) for v in scan.xs)]
        outputs = [*carried, *(slices(self.at(v), v) for v in scan.ys)]
        return Places(body, self._scratch(loop.node), inputs, outputs, self.constants, rank=self.rank)

    def branch(self, node: Node, body: Plan) -> Places:
        """The places of a body that a flag decides on: carries are where the loop leaves them."""
        outputs = [self.at(v) for v in node.outputs]
        consts = node.inputs[: node.attrs["consts"]] if node.op.is_while else node.inputs[1:]
        inputs = [*map(self.read, consts), *(outputs if node.op.is_while else ())]
        return Places(body, self._scratch(node), inputs, outputs, self.constants, rank=self.rank)

    def describe(self, address: int) -> str:
        """What lies at an address, in words."""
        if 0 <= address - self.arena < self.plan.arena_bytes:
            return f"byte {address - self.arena:,} of the arena"
        graph = self.plan.graph
        for kind, values, starts in (("input", graph.inputs, self.inputs), ("output", graph.outputs, self.outputs)):
            for i, (value, start) in enumerate(zip(values, starts)):
                if 0 <= address - start < value.type.nbytes:
                    return f"byte {address - start:,} of {kind} {i}" + (f", {value.name!r}" if value.name else "")
        return f"the byte at {address:#x}"

    def _scratch(self, node: Node) -> int:
        return self.arena + self.plan.scratch.get(node, 0)


def parts(lowered: LaunchList, places: Places) -> Iterator[Part]:
    """Everything that runs, in the order of the plan, loops unrolled. What decides on a fork comes before it; the parts
    of its body are for whoever knows the flag.
    """
    for unit, node in lowered.units():
        yield from unit_parts(unit, node, places)


def unit_parts(unit: Unit, node: Node | None, places: Places) -> Iterator[Part]:
    """The parts of one unit."""
    yield from ((item, node, places) for stage in stages_of(unit) for item in stage)
    if isinstance(unit, Loop):
        for t in unit.iterations:
            yield from parts(unit.body, places.iteration(unit, t))
    elif isinstance(unit, (Fork, Transfer)):
        yield unit, node, places
