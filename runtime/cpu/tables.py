"""From a plan to the tables of a program: units become regions, the bodies of loops are written down once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

import numpy as np

from ...ir import Node, Value
from ...passes.graph.cache_lines import round_to_line
from ...passes.memory.plan import Plan
from ...passes.tiling.parallel_loops import run_concurrently
from ..lowering.units import Argument, Sites, Step, copy_rows, lower_unit
from .program import CONSTANT, POINTER, TILE

Levels = list[list[Step]]
"""Steps of a unit: those of one level run side by side, each level waits for the one before."""


@dataclass
class Loop:
    """A `scan`: levels that run before it, and its body."""

    node: Node
    before: Levels
    body: Lowered


@dataclass
class Lowered:
    """A plan as phases of units that run side by side."""

    plan: Plan
    phases: list[list[Levels | Loop]] = field(default_factory=list["list[Levels | Loop]"])

    def sources(self) -> Iterator[str]:
        """The sources of all kernels, bodies included."""
        return (source for source, _ in self.uses())

    def uses(self) -> Iterator[tuple[str, Node | None]]:
        """The sources of the kernels of each unit, bodies included, and the unit: none copies to where inputs are."""
        for phase, nodes in zip_longest(self.phases, self.plan.phases, fillvalue=()):
            for unit, node in zip_longest(phase, nodes):
                levels = unit.before if isinstance(unit, Loop) else unit
                for instruction in (i for level in levels for step in level for i in step.instructions):
                    yield from ((source, node) for source in instruction.sources())
                if isinstance(unit, Loop):
                    yield from unit.body.uses()

    def plans(self) -> Iterator[Plan]:
        """The plan and those of all bodies, in the order in which their constants are numbered."""
        yield self.plan
        for phase in self.phases:
            for unit in phase:
                if isinstance(unit, Loop):
                    yield from unit.body.plans()


def lower(plan: Plan, sites: Sites) -> Lowered:
    """The steps of all units of a plan."""
    phases = [[_unit(node, plan, sites) for node in phase] for phase in plan.phases]
    if plan.copied_back:
        phases.append([[[_copy(value, plan.graph.inputs[j])]] for value, j in plan.copied_back.items()])
    return Lowered(plan, phases)


def _unit(node: Node, plan: Plan, sites: Sites) -> Levels | Loop:
    if node.op.name != "scan":
        levels: Levels = []
        for step in lower_unit(node, plan, sites):
            if step.beside:
                levels[-1].append(step)
            else:
                levels.append([step])
        return levels
    # A carry begins as what it is given, in the place where it ends.
    consts, carries = node.attrs["consts"], node.attrs["carries"]
    given = plan.in_place.get(node, {})
    begin = [
        _copy(plan.views[node.inputs[consts + i]].base, node.outputs[i], plan.views[node.inputs[consts + i]].offset)
        for i in range(carries)
        if i not in given and node.outputs[i].type.size
    ]
    return Loop(node, [begin], lower(plan.bodies[node], sites))


def _copy(source: Value, target: Value, offset: int = 0) -> Step:
    """Copies as many elements as `target` has, from element `offset` of `source` on."""
    dtype, size = target.type.dtype, target.type.size
    read = Argument("value", value=source, offset=offset * dtype.itemsize)
    return copy_rows(read, Argument("value", value=target), dtype, 1, size, size)


@dataclass(frozen=True, slots=True)
class _Word:
    """An address that a pointer starts from: a base, bytes after it, and bytes further in each lane, each iteration of
    a loop, and each of a loop within it.
    """

    base: int
    offset: int = 0
    aside: int = 0
    apart: int = 0
    inner: int = 0

    def plus(self, offset: int, aside: int = 0, apart: int = 0, inner: int = 0) -> _Word:
        return _Word(self.base, self.offset + offset, self.aside + aside, self.apart + apart, self.inner + inner)


@dataclass
class _Frame:
    """Where the places of a plan are."""

    plan: Plan
    arena: _Word
    inputs: Sequence[_Word]
    outputs: Sequence[_Word]
    constants: Sequence[_Word]

    def at(self, value: Value) -> _Word:
        """Where the memory of a value that is no view begins."""
        location = self.plan.locations[value]
        if location.place == "arena":
            return self.arena.plus(location.offset)
        return {"input": self.inputs, "output": self.outputs, "constant": self.constants}[location.place][
            location.index
        ]


_Row = tuple[int, int, int, int, int]
"""Tiles, first instruction, number of instructions, iteration, inner iteration."""

_ArgumentRow = tuple[int, int, int, int, int, int, int]


def _turns(loop: Loop) -> range:
    attrs = loop.node.attrs
    return range(attrs["length"])[:: -1 if attrs["reverse"] else 1]


class Tables:
    """The tables of a program (see `Program`) under construction.

    Base 0 is the arena; the inputs of the graph follow, its outputs, and the constants of its plan and of the plans
    of bodies.
    """

    def __init__(self, lowered: Lowered, addresses: Mapping[str, int]) -> None:
        self.addresses = addresses
        self.calls: list[tuple[int, int, int]] = []
        self.words: list[_ArgumentRow] = []
        graph = lowered.plan.graph
        first_output = 1 + len(graph.inputs)
        number = first_output + len(graph.outputs)
        self.constants: dict[int, list[_Word]] = {}
        for plan in lowered.plans():
            self.constants[id(plan)] = [_Word(number + i) for i in range(len(plan.constants))]
            number += len(plan.constants)
        self.bases = number
        frame = _Frame(
            lowered.plan,
            _Word(0),
            [_Word(1 + i) for i in range(len(graph.inputs))],
            [_Word(first_output + i) for i in range(len(graph.outputs))],
            self.constants[id(lowered.plan)],
        )
        rows = [
            (tiles, int(k == 0), *rest)
            for level in self._levels(lowered, frame, 0)
            for k, (tiles, *rest) in enumerate(level)
        ]
        self.regions = np.array(rows, np.int64).reshape(-1, 6)

    def _levels(self, lowered: Lowered, frame: _Frame, depth: int) -> list[list[_Row]]:
        levels: list[list[_Row]] = []
        for phase in lowered.phases:
            units = [
                self._loop(unit, frame, depth) if isinstance(unit, Loop) else self._steps(unit, frame) for unit in phase
            ]
            if len(units) == 1:
                levels += units[0]
                continue
            for number in range(max(map(len, units), default=0)):
                levels.append([row for unit in units if number < len(unit) for row in unit[number]])
        return levels

    def _steps(self, levels: Levels, frame: _Frame) -> list[list[_Row]]:
        return [[self._row(step, frame) for step in level] for level in levels if level]

    def _row(self, step: Step, frame: _Frame) -> _Row:
        first = len(self.calls)
        for instruction in step.instructions:
            self.calls.append((self.addresses[instruction.source], len(self.words), len(instruction.arguments)))
            self.words += (self._word(argument, frame) for argument in instruction.arguments)
        return step.tiles, first, len(step.instructions), 0, 0

    def _word(self, argument: Argument, frame: _Frame) -> _ArgumentRow:
        match argument.kind:
            case "number":
                return CONSTANT, argument.number, 0, 0, 0, 0, 0
            case "tile":
                return TILE, 0, 0, 0, 0, 0, 0
            case "kernel":
                return CONSTANT, self.addresses[argument.source], 0, 0, 0, 0, 0
            case "arena":
                word = frame.arena
            case _:
                assert argument.value is not None
                word = frame.at(argument.value)
        along = word.aside + argument.along
        return POINTER, word.base, word.offset + argument.offset, along, argument.apart, word.apart, word.inner

    def _loop(self, loop: Loop, frame: _Frame, depth: int) -> list[list[_Row]]:
        """The levels of a loop. The regions of a loop, and of one within it, share instructions, which move with the
        iteration; in a loop further inside every iteration has its own.
        """
        turns = _turns(loop)
        levels = self._steps(loop.before, frame)
        if depth == 0 and run_concurrently(loop.node, frame.plan.threads):
            return self._lanes(loop.body, self._inside(loop, frame, aside=1), len(turns))
        if depth == 0:
            once = self._levels(loop.body, self._inside(loop, frame, apart=1), 1)
            for t in turns:
                levels += [[(*row[:3], t, row[4]) for row in level] for level in once]
        elif depth == 1:
            once = self._levels(loop.body, self._inside(loop, frame, inner=1), 2)
            for t in turns:
                levels += [[(*row[:4], t) for row in level] for level in once]
        else:
            for t in turns:
                levels += self._levels(loop.body, self._inside(loop, frame, t), depth + 1)
        return levels

    def _lanes(self, body: Lowered, frame: _Frame, lanes: int) -> list[list[_Row]]:
        """The levels of a loop whose iterations run side by side, each from end to end on one thread.

        What stands in loops in the body is written down once: lanes meet after each iteration.
        """
        return [[(lanes, *row)] for row in self._lane(body, frame, 0)]

    def _lane(self, lowered: Lowered, frame: _Frame, depth: int) -> list[tuple[int, int, int, int]]:
        """First instruction, number of instructions, iteration and inner iteration of the pieces of a lane."""
        pieces: list[tuple[int, int, int, int]] = []
        begin = len(self.calls)

        def cut() -> None:
            nonlocal begin
            if len(self.calls) > begin:
                pieces.append((begin, len(self.calls) - begin, 0, 0))
            begin = len(self.calls)

        for phase in lowered.phases:
            for unit in phase:
                if not isinstance(unit, Loop):
                    self._straight(unit, frame)
                    continue
                self._straight(unit.before, frame)
                if depth > 1:
                    for t in _turns(unit):
                        pieces_within = self._lane(unit.body, self._inside(unit, frame, t), depth + 1)
                        assert len(pieces_within) <= 1
                    continue
                cut()
                moved = self._inside(unit, frame, apart=1 - depth, inner=depth)
                once = self._lane(unit.body, moved, depth + 1)
                begin = len(self.calls)
                for t in _turns(unit):
                    pieces += [(*piece[:2], piece[2] if depth else t, t if depth else piece[3]) for piece in once]
        cut()
        return pieces

    def _straight(self, levels: Levels, frame: _Frame) -> None:
        """Write down all tiles of the steps one after the other."""
        for level in levels:
            for step in level:
                for tile in range(step.tiles):
                    for instruction in step.instructions:
                        address, arguments = self.addresses[instruction.source], instruction.arguments
                        self.calls.append((address, len(self.words), len(arguments)))
                        for argument in arguments:
                            self.words.append(self._told(argument, frame, tile))

    def _told(self, argument: Argument, frame: _Frame, tile: int) -> _ArgumentRow:
        """The word of an argument where the tile is known, and the tiles of the program are lanes."""
        if argument.kind == "tile":
            return CONSTANT, tile, 0, 0, 0, 0, 0
        known = replace(argument, offset=argument.offset + tile * argument.along, along=0)
        return self._word(known if argument.along else argument, frame)

    def _inside(
        self, loop: Loop, frame: _Frame, turn: int = 0, aside: int = 0, apart: int = 0, inner: int = 0
    ) -> _Frame:
        """The frame of the body in iteration `turn`, from where it moves on by one slice a lane, an iteration, or an
        inner iteration.
        """
        node, body = loop.node, loop.body.plan
        consts, carries = node.attrs["consts"], node.attrs["carries"]

        def slices(word: _Word, value: Value) -> _Word:
            step = value.type.nbytes // max(node.attrs["length"], 1)
            return word.plus(turn * step, aside * step, apart * step, inner * step)

        def read(value: Value) -> _Word:
            view = frame.plan.views[value]
            return frame.at(view.base).plus(view.offset * value.type.dtype.itemsize)

        inputs = [read(v) for v in node.inputs[:consts]]
        inputs += [frame.at(v) for v in node.outputs[:carries]]
        inputs += [slices(read(v), v) for v in node.inputs[consts + carries :]]
        outputs = [frame.at(v) for v in node.outputs[:carries]]
        outputs += [slices(frame.at(v), v) for v in node.outputs[carries:]]
        arena = frame.arena.plus(frame.plan.scratch.get(node, 0), aside=aside * round_to_line(body.arena_bytes))
        return _Frame(body, arena, inputs, outputs, self.constants[id(body)])

    def arrays(self) -> dict[str, Any]:
        """The tables as `Program` takes them."""
        return {
            "regions": self.regions,
            "instrs": np.array(self.calls, np.int64).reshape(-1, 3),
            "args": np.array(self.words, np.int64).reshape(-1, 7),
            "bases_count": self.bases,
        }
