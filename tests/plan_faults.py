"""Faults in plans, planted at random: whatever a plan says, said otherwise.

fault = planted(plan, random)      # None where there is nothing to spoil
with fault as spoilt: ...          # nodes are as they were afterwards
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
from gradloom.ir import OPS, Graph, Node
from gradloom.passes.graph.views import View
from gradloom.passes.memory.plan import Block, Location, Plan

CLAIMS = ("blocks", "scratch", "arena_bytes", "lower_bound_bytes", "bodies")
"""Fields in which a fault may spoil no bits, and is one all the same."""


@dataclass(frozen=True)
class Fault:
    """A fault in the field `field` of a plan, or of the plan of a loop's body, and how to undo it."""

    field: str
    plan: Plan
    undo: Callable[[], None] = lambda: None

    def __enter__(self) -> Plan:
        return self.plan

    def __exit__(self, *exception: object) -> None:
        self.undo()


def planted(plan: Plan, random: Random, field: str | None = None) -> Fault | None:
    """A fault in `field`, or in any."""
    if plan.bodies and random.random() < 0.3:
        node, bodies = random.choice(list(plan.bodies.items()))
        at = random.randrange(len(bodies))
        inner = planted(bodies[at], random, field)
        if inner is None:
            return None
        return Fault(inner.field, _with_body(plan, node, at, inner.plan), inner.undo)
    name = field or random.choice(list(_SPOIL))
    return _SPOIL[name](plan, random)


FIELDS: tuple[str, ...]


def _moved(place: Location, random: Random) -> Location:
    kinds = ["arena", "input", "output", "constant"]
    changes: list[dict[str, Any]] = [
        *({"offset": place.offset + step} for step in (1, -1, 64, -64, 1 << 40)),
        {"index": place.index + 1},
        {"place": random.choice([kind for kind in kinds if kind != place.place])},
    ]
    return replace(place, **random.choice(changes))


def _locations(plan: Plan, random: Random) -> Fault | None:
    owned = [v for v, place in plan.locations.items() if v.type.nbytes]
    if not owned:
        return None
    value = random.choice(owned)
    places = dict(plan.locations)
    match random.randrange(3):
        case 0:
            del places[value]
        case 1:
            places[value] = places[random.choice(owned)]
        case _:
            places[value] = _moved(places[value], random)
    return _unless_same("locations", plan, places)


def _unless_same(field: str, plan: Plan, new: Any) -> Fault | None:
    return None if new == getattr(plan, field) else Fault(field, replace(plan, **{field: new}))


def _views(plan: Plan, random: Random) -> Fault | None:
    value, view = random.choice(list(plan.views.items()))
    if not value.type.nbytes:
        return None
    axis = random.randrange(len(view.shape)) if view.shape else None
    changed: list[View] = [replace(view, offset=view.offset + random.choice((-1, 1)))]
    others = [v for v in plan.locations if v is not view.base and v.type == view.base.type]
    if others:
        changed.append(replace(view, base=random.choice(others)))
    if axis is not None and view.shape[axis] > 1:
        strides = list(view.strides)
        strides[axis] += random.choice((-1, 1))
        changed.append(replace(view, strides=tuple(strides)))
    return Fault("views", replace(plan, views={**plan.views, value: random.choice(changed)}))


def _blocks(plan: Plan, random: Random) -> Fault | None:
    if not plan.blocks:
        return None
    at = random.randrange(len(plan.blocks))
    block = plan.blocks[at]
    other = random.choice(plan.blocks)
    changes: list[list[Block]] = [[], [block, block]]
    for name in ("birth", "death", "nbytes", "offset"):
        changes += ([replace(block, **{name: getattr(block, name) + step})] for step in (-1, 1, 64))
    if block.values:
        changes.append([replace(block, values=block.values[1:])])
    if other is not block:
        changes.append([replace(block, values=other.values, unit=other.unit)])
        changes.append([replace(block, values=(*block.values, *other.values))])
    blocks = [*plan.blocks[:at], *random.choice(changes), *plan.blocks[at + 1 :]]
    return _unless_same("blocks", plan, blocks)


def _moved_block(plan: Plan, random: Random) -> Fault | None:
    """A block elsewhere, with all that lies in it."""
    if not plan.blocks:
        return None
    block = random.choice(plan.blocks)
    steps = [1, -1, 64, -64, random.choice(plan.blocks).offset - block.offset, plan.arena_bytes]
    offset = block.offset + random.choice(steps)
    if offset == block.offset:
        return None
    locations = {**plan.locations, **{v: Location("arena", 0, offset) for v in block.values}}
    scratch = {**plan.scratch, **({block.unit: offset} if block.unit else {})}
    blocks = [replace(b, offset=offset) if b is block else b for b in plan.blocks]
    return Fault("moved_block", replace(plan, locations=locations, scratch=scratch, blocks=blocks))


def _nests(plan: Plan, random: Random) -> Fault | None:
    if not plan.nests:
        return None
    node, nest = random.choice(list(plan.nests.items()))
    others = [other for other in plan.nests.values() if other is not nest]
    if others and random.random() < 0.2:
        return Fault("nests", replace(plan, nests={**plan.nests, node: random.choice(others)}))
    numbers = ("rows", "columns", "size", "tiles", "accumulators")
    changes: list[dict[str, Any]] = [{name: getattr(nest, name) + random.choice((-1, 1))} for name in numbers]
    changes += [{"together": nest.together + 1}, {"cut": replace(nest.cut, step=nest.cut.step + 1)}]
    if nest.product is not None:
        changes.append({"product_rows": nest.product_rows + 1})
    changes.append({"chunked": not nest.chunked})
    for name in ("buffers", "crossings", "row_axes", "column_axes"):
        if held := getattr(nest, name):
            changes.append({name: held[:-1]})
    if nest.accesses:
        value, access = random.choice(list(nest.accesses.items()))
        moved = [replace(access, offset=access.offset + random.choice((-1, 1)))]
        moved += [replace(access, row_strides=access.row_strides[:-1])] if access.row_strides else []
        moved += [replace(access, column_strides=(2, *access.column_strides[1:]))] if access.column_strides else []
        changes += ({"accesses": {**nest.accesses, value: one}} for one in moved)
    if value := next((v for v, kind in nest.kinds.items() if kind != "scalar" and v.type.size > 1), None):
        changes.append({"kinds": {**nest.kinds, value: "scalar"}})
    if len(nest.sweeps) > 1:
        changes.append({"sweeps": nest.sweeps[::-1]})
        changes.append({"sweep_of": dict.fromkeys(nest.sweep_of, 0)})
    return Fault("nests", replace(plan, nests={**plan.nests, node: replace(nest, **random.choice(changes))}))


def _phases(plan: Plan, random: Random) -> Fault | None:
    phases = [list(phase) for phase in plan.phases]
    if not phases:
        return None
    at = random.randrange(len(phases))
    match random.randrange(5):
        case 0:
            other = random.randrange(len(phases))
            phases[at], phases[other] = phases[other], phases[at]
        case 1:
            phases[at : at + 2] = [[n for phase in phases[at : at + 2] for n in phase]]
        case 2:
            phases[at].pop(random.randrange(len(phases[at])))
        case 3:
            phases[random.randrange(len(phases))].append(random.choice(phases[at]))
        case _:
            phases[random.randrange(len(phases))].append(phases[at].pop())
    return _unless_same("phases", plan, phases)


def _in_place(plan: Plan, random: Random) -> Fault | None:
    units = [node for phase in plan.phases for node in phase if node.inputs and node.outputs]
    if not units:
        return None
    given = [node for node in units if node in plan.in_place]
    node = random.choice(given if given and random.random() < 0.6 else units)
    pairs = dict(plan.in_place.get(node, {}))
    if pairs and random.random() < 0.5:
        del pairs[random.choice(list(pairs))]
    else:
        pairs[random.randrange(len(node.outputs))] = random.randrange(len(node.inputs) + 1)
    if pairs == dict(plan.in_place.get(node, {})):
        return None
    return Fault("in_place", replace(plan, in_place={**plan.in_place, node: pairs}))


def _copied_back(plan: Plan, random: Random) -> Fault | None:
    back = dict(plan.copied_back)
    if back and random.random() < 0.5:
        del back[random.choice(list(back))]
    elif plan.graph.inputs:
        back[random.choice(list(plan.locations))] = random.randrange(len(plan.graph.inputs))
    return _unless_same("copied_back", plan, back)


def _constants(plan: Plan, random: Random) -> Fault | None:
    constants = list(plan.constants)
    if not constants:
        return None
    at = random.randrange(len(constants))
    match random.randrange(3):
        case 0:
            constants.pop(at)
        case 1:
            constants.append(constants[at])
        case _:
            constants.insert(0, constants.pop(at))
    return _unless_same("constants", plan, constants)


def _scratch(plan: Plan, random: Random) -> Fault | None:
    scratch = dict(plan.scratch)
    if not scratch:
        return None
    node = random.choice(list(scratch))
    if random.random() < 0.3:
        del scratch[node]
    else:
        scratch[node] += random.choice((-64, -1, 1, 64))
    return Fault("scratch", replace(plan, scratch=scratch))


def _bodies(plan: Plan, random: Random) -> Fault | None:
    if not plan.bodies:
        return None
    node = random.choice(list(plan.bodies))
    at = random.randrange(len(plan.bodies[node]))
    body = plan.bodies[node][at]
    match random.randrange(4):
        case 0:
            spoilt = replace(plan, bodies={n: found for n, found in plan.bodies.items() if n is not node})
        case 1:
            spoilt = _with_body(plan, node, at, replace(body, nested=False))
        case 2:
            spoilt = _with_body(plan, node, at, replace(body, copies=body.copies + 1))
        case _:
            spoilt = _with_body(plan, node, at, replace(body, threads=body.threads + 1))
    return Fault("bodies", spoilt)


def _with_body(plan: Plan, node: Node, at: int, body: Plan) -> Plan:
    """The plan with another one for body `at` of a node."""
    bodies = list(plan.bodies[node])
    bodies[at] = body
    return replace(plan, bodies={**plan.bodies, node: bodies})


def _number(name: str) -> Callable[[Plan, Random], Fault | None]:
    def spoilt(plan: Plan, random: Random) -> Fault | None:
        return Fault(name, replace(plan, **{name: getattr(plan, name) + random.choice((-1, 1))}))

    return spoilt


# ---- faults in the graph: nodes are changed where they are


def _nodes(graph: Graph) -> Iterator[tuple[Graph, Node]]:
    for node in graph.nodes:
        yield graph, node
        if node.op.name in ("region", "conv_region"):
            yield from _nodes(node.attrs["body"])


_LIKE = {"add": "mul", "sub": "add", "mul": "add", "exp": "neg", "tanh": "neg", "reduce_sum": "reduce_max"}


def _graph(plan: Plan, random: Random) -> Fault | None:
    graph, node = random.choice(list(_nodes(plan.graph)))
    op, inputs, attrs = node.op, node.inputs, dict(node.attrs)

    def undo() -> None:
        node.op, node.inputs, node.attrs = op, inputs, attrs

    match random.randrange(3):
        case 0 if op.name in _LIKE:
            node.op = OPS[_LIKE[op.name]]
        case 1 if inputs:
            at = random.randrange(len(inputs))
            values = [*graph.inputs, *(v for n in graph.nodes for v in n.outputs)]
            twins = [v for v in values if v.type == inputs[at].type and v is not inputs[at]]
            if not twins:
                return None
            node.inputs = (*inputs[:at], random.choice(twins), *inputs[at + 1 :])
        case _:
            if not _spoil_attribute(node, random):
                return None
    return Fault("graph", plan, undo)


def _spoil_attribute(node: Node, random: Random) -> bool:
    names = [name for name, value in node.attrs.items() if isinstance(value, (int, float, np.generic, np.ndarray))]
    if not names:
        return False
    name = random.choice(names)
    value = node.attrs[name]
    attrs = dict(node.attrs)
    attrs[name] = not value if isinstance(value, bool) else value + value.dtype.type(1) if isinstance(
        value, (np.generic, np.ndarray)) and value.dtype.kind != "b" else value ^ True if isinstance(
        value, (np.generic, np.ndarray)) else value + 1  # fmt: skip
    node.attrs = attrs
    return True


def _outputs(plan: Plan, random: Random) -> Fault | None:
    graph = plan.graph
    outputs, aliases = list(graph.outputs), dict(graph.aliases)
    at, other = random.randrange(len(outputs)), random.randrange(len(outputs))
    if aliases and random.random() < 0.5:
        del aliases[random.choice(list(aliases))]
    elif outputs[at].type == outputs[other].type and at != other:
        outputs[at], outputs[other] = outputs[other], outputs[at]
    else:
        return None
    spoilt = Graph(graph.inputs, graph.nodes, outputs, aliases, graph.output_names)
    return None if plan.nested else Fault("outputs", replace(plan, graph=spoilt))


_SPOIL: dict[str, Callable[[Plan, Random], Fault | None]] = {
    "locations": _locations,
    "views": _views,
    "blocks": _blocks,
    "moved_block": _moved_block,
    "phases": _phases,
    "nests": _nests,
    "in_place": _in_place,
    "copied_back": _copied_back,
    "constants": _constants,
    "scratch": _scratch,
    "bodies": _bodies,
    "graph": _graph,
    "outputs": _outputs,
    **{name: _number(name) for name in ("arena_bytes", "lower_bound_bytes", "threads", "copies")},
}
FIELDS = tuple(_SPOIL)
