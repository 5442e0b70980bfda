"""The graph of a plan with transfers: `to_host` and `to_device` stand where they begin."""

from __future__ import annotations

from ...ir import Builder, Graph, Node, Origin, Value
from ...ir.ops.host_memory import to_device, to_host
from ..graph.current_values import CurrentValues
from ..memory.plan import Plan
from .absences import Absence
from .placement import Placed


def with_transfers(plan: Plan, moved: Placed) -> Graph:
    """The units of a plan in its order, and the transfers at the beginnings of their phases."""
    return _Mover(plan, moved).graph()


class _Mover:
    """Copies a graph, in which a value that returned stands for the one that left."""

    def __init__(self, plan: Plan, moved: Placed) -> None:
        self.plan = plan
        self.moved = moved
        self.b = Builder()
        self.current = CurrentValues(self.b, plan.graph)
        self.on_host: dict[Value, Value] = {}
        self.last_of_phase: list[int] = []
        """The number of units that have run when each phase ends."""

    def graph(self) -> Graph:
        plan, graph = self.plan, self.plan.graph
        begins: dict[int, list[Value]] = {}
        for value, (begin, _) in self.moved.away.items():
            begins.setdefault(begin, []).append(value)
        returns: dict[int, list[Absence]] = {}
        for absence, begin in self.moved.back.items():
            returns.setdefault(begin, []).append(absence)
        arriving: dict[int, list[tuple[Value, Value]]] = {}
        away: list[tuple[Node, int, int]] = []
        units = 0
        for number, phase in enumerate([*plan.phases, []]):
            self.current.update(arriving.get(number, ()))
            for value in begins.get(number, ()):
                node = self.b.emit_node(to_host, self.current.value(value), beside=0)
                self._from(node, value)
                self.on_host[value] = node.output
                away.append((node, units, self.moved.away[value][1]))
                units += 1
            for absence in returns.get(number, ()):
                old = absence.value if absence.home is None else graph.inputs[absence.home]
                source = self.on_host[old] if absence.home is None else self.current.value(old)
                node = self.b.emit_node(to_device, source)
                self._from(node, absence.value)
                arriving.setdefault(absence.before, []).append((old, node.output))
                units += 1
            for node in phase:
                copied = self.b.copy(node, [self.current.value(v) for v in node.inputs])
                self.current.update(zip(node.outputs, copied.outputs))
                units += 1
            self.last_of_phase.append(units - 1)
        for node, place, done in away:
            node.attrs["beside"] = max(self.last_of_phase[done] - place, 0)
        homes = {absence.value for absence in self.moved.back if absence.home is not None}
        outputs = [self.on_host[v] if v in homes else self.current.value(v) for v in graph.outputs]
        return self.b.graph(outputs, graph.aliases, graph.output_names)

    def _from(self, node: Node, value: Value) -> None:
        """Let a transfer come from where the value does."""
        node.origin = Origin() if value.node is None else value.node.origin
