"""Where the values of a plan are while it runs: addresses, which move on with the iterations of its loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...ir import Node, Value
from ...passes.graph.scan import Scan
from ...passes.memory.plan import Plan
from ..lowering.launch import Arg, Call, KernelAddress, Pointer, Routine, Scratch, Tile
from ..lowering.launch_list import Loop

Extent = tuple[int, int]
"""The address of the first byte of some memory, and its bytes."""


@dataclass(frozen=True)
class Places:
    """Addresses of the arena of a plan, of the inputs and outputs of its graph, of the constants of each plan, by its
    `id`, and of its arena in host memory.
    """

    plan: Plan
    arena: int
    inputs: Sequence[int]
    outputs: Sequence[int]
    constants: Mapping[int, Sequence[int]]
    host: int = 0

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
            case Tile() | Scratch() | KernelAddress() | Routine():
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
        return Places(body, self._scratch(loop.node), inputs, outputs, self.constants)

    def branch(self, node: Node, body: Plan) -> Places:
        """The places of a body that a flag decides on: carries are where the loop leaves them."""
        outputs = [self.at(v) for v in node.outputs]
        consts = node.inputs[: node.attrs["consts"]] if node.op.is_while else node.inputs[1:]
        inputs = [*map(self.read, consts), *(outputs if node.op.is_while else ())]
        return Places(body, self._scratch(node), inputs, outputs, self.constants)

    def _scratch(self, node: Node) -> int:
        return self.arena + self.plan.scratch.get(node, 0)
