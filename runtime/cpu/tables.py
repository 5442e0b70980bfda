"""From launches to the tables of a program: the body of a loop is written down once, its launches for each iteration.

Here the arguments of launches become words that the driver reads. So this is where the CPU's own addresses are known:
those of kernels and of BLAS routines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...ir import Node, Value
from ...passes.graph.scan import Scan
from ...passes.memory.plan import Plan
from ...passes.tiling.parallel_loops import run_concurrently
from ..lowering.launch import (
    Arg,
    Call,
    KernelAddress,
    Launch,
    Pointer,
    RankNumber,
    Ranks,
    Routine,
    Scratch,
    Tile,
    Transfer,
)
from ..lowering.launch_list import Fork, Item, LaunchList, Loop, Stages, Unit
from . import blas
from .program import CONSTANT, POINTER, TILE
from .stretches import ForkRow, LaunchRow, Stage, Stretches, in_inner_iteration, in_iteration


@dataclass(frozen=True, slots=True)
class Address:
    """An address that a pointer starts from: a base, bytes after it, and bytes further in each parallel iteration, each
    iteration of a loop, and each of a loop within it.
    """

    base: int
    offset: int = 0
    parallel_stride: int = 0
    stride: int = 0
    inner_stride: int = 0

    def plus(self, offset: int, parallel_stride: int = 0, stride: int = 0, inner_stride: int = 0) -> Address:
        return Address(
            self.base,
            self.offset + offset,
            self.parallel_stride + parallel_stride,
            self.stride + stride,
            self.inner_stride + inner_stride,
        )


@dataclass
class Frame:
    """Where the places of a plan are."""

    plan: Plan
    arena: Address
    inputs: Sequence[Address]
    outputs: Sequence[Address]
    constants: Sequence[Address]

    def at(self, value: Value) -> Address:
        """Where the memory of a value that is no view begins."""
        location = self.plan.locations[value]
        if location.place == "arena":
            return self.arena.plus(location.offset)
        return {"input": self.inputs, "output": self.outputs, "constant": self.constants}[location.place][
            location.index
        ]

    def read(self, value: Value) -> Address:
        """Where a value that may be a view begins."""
        view = self.plan.views[value]
        return self.at(view.base).plus(view.offset * value.type.dtype.itemsize)


_ArgRow = tuple[int, int, int, int, int, int, int]


class Tables:
    """The tables of a program (see `Program`) under construction; `kernels` are addresses by sources.

    Base 0 is the arena; the inputs of the graph follow, its outputs, and the constants of its plan and of the plans
    of bodies. `ranks` is the address of their block.
    """

    def __init__(self, lowered: LaunchList, kernels: Mapping[str, int], ranks: int = 0) -> None:
        self.kernels, self.ranks = kernels, ranks
        self.calls: list[tuple[int, int, int]] = []
        self.args: list[_ArgRow] = []
        graph = lowered.plan.graph
        first_output = 1 + len(graph.inputs)
        number = first_output + len(graph.outputs)
        self.constants: dict[int, list[Address]] = {}
        for plan in lowered.plans():
            self.constants[id(plan)] = [Address(number + i) for i in range(len(plan.constants))]
            number += len(plan.constants)
        self.bases = number
        frame = Frame(
            lowered.plan,
            Address(0),
            [Address(1 + i) for i in range(len(graph.inputs))],
            [Address(first_output + i) for i in range(len(graph.outputs))],
            self.constants[id(lowered.plan)],
        )
        self.stretches = Stretches(self._stages(lowered, frame, 0))

    def _stages(self, lowered: LaunchList, frame: Frame, depth: int) -> list[Stage]:
        """The launches of a plan. Units of a phase share its barriers: their first stages run concurrently, then their
        second ones, and so on. Units with forks come after the others, one by one.
        """
        stages: list[Stage] = []
        for phase in lowered.paired_phases():
            units = [self._unit(unit, node, frame, depth) for unit, node in phase]
            if len(units) == 1:
                stages += units[0]
                continue
            shared = [[s for s in unit if isinstance(s, list)] for unit in units if not _has_fork(unit)]
            for number in range(max(map(len, shared), default=0)):
                stages.append([row for unit in shared if number < len(unit) for row in unit[number]])
            stages += (stage for unit in units if _has_fork(unit) for stage in unit)
        return stages

    def _begin_unit(self, node: Node | None, frame: Frame) -> None:
        """The calls of a unit follow; none copies to where inputs are. `UnitTables` asks for it."""

    def _unit(self, unit: Unit, node: Node | None, frame: Frame, depth: int) -> Sequence[Stage]:
        self._begin_unit(node, frame)
        if isinstance(unit, Loop):
            return self._loop(unit, frame, depth)
        assert not isinstance(unit, Transfer), "a CPU has one memory"
        return self._fork(unit, frame, depth) if isinstance(unit, Fork) else self._rows(unit, frame)

    def _rows(self, stages: Stages, frame: Frame) -> Sequence[list[LaunchRow]]:
        return [[self._row(launch, frame) for launch in stage] for stage in stages if stage]

    def _row(self, launch: Item, frame: Frame) -> LaunchRow:
        assert isinstance(launch, Launch), "a CPU has no such libraries"
        first = len(self.calls)
        for call in launch.calls:
            self._write(call, [self._word(arg, frame) for arg in call.args])
        return launch.tiles, first, len(launch.calls), 0, 0

    def _write(self, call: Call, words: list[_ArgRow]) -> None:
        self.calls.append((self.kernels[call.source], len(self.args), len(words)))
        self.args += words

    def _word(self, arg: Arg, frame: Frame) -> _ArgRow:
        match arg:
            case Tile():
                return TILE, 0, 0, 0, 0, 0, 0
            case KernelAddress():
                return CONSTANT, self.kernels[arg.source], 0, 0, 0, 0, 0
            case Routine():
                return CONSTANT, blas.pointer(arg.name), 0, 0, 0, 0, 0
            case RankNumber():
                raise AssertionError(f"{arg} is no argument of a kernel of a CPU")
            case Ranks():
                assert self.ranks, "messages to other ranks, and no ranks"
                return CONSTANT, self.ranks, 0, 0, 0, 0, 0
            case Pointer():
                start, tile_stride, worker_stride = frame.at(arg.value).plus(arg.offset), 0, 0
            case Scratch():
                start, tile_stride, worker_stride = frame.arena.plus(arg.offset), arg.tile_stride, arg.worker_stride
            case _:
                return CONSTANT, arg, 0, 0, 0, 0, 0
        # Parallel iterations are the tiles of their launch, so that they move on with the tile.
        tile_stride += start.parallel_stride
        return POINTER, start.base, start.offset, tile_stride, worker_stride, start.stride, start.inner_stride

    def _fork(self, fork: Fork, frame: Frame, depth: int) -> list[Stage]:
        """The stages of a loop or of branches that a flag decides on."""
        stages: list[Stage] = [*self._rows(fork.before, frame)]
        flag = len(self.args)
        self.args.append(self._word(fork.flag, frame))
        bodies = [self._stages(body, self._body_frame(fork.node, body.plan, frame), depth) for body in fork.bodies]
        false = bodies[1] if fork.node.op.is_cond else []
        return [*stages, ForkRow(flag, bodies[0], false, again=fork.node.op.is_while)]

    def _loop(self, loop: Loop, frame: Frame, depth: int) -> list[Stage]:
        """The stages of a loop. The launches of a loop, and of one within it, share calls, which move with the
        iteration; in a loop further inside every iteration has its own.
        """
        stages: list[Stage] = [*self._rows(loop.before, frame)]
        if depth == 0 and run_concurrently(loop.node, frame.plan.threads):
            return self._parallel_loop(loop.body, self._inside(loop, frame, parallel_stride=1), len(loop.iterations))
        if depth == 0:
            once = self._stages(loop.body, self._inside(loop, frame, stride=1), 1)
            for t in loop.iterations:
                stages += in_iteration(once, t)
        elif depth == 1:
            once = self._stages(loop.body, self._inside(loop, frame, inner_stride=1), 2)
            for t in loop.iterations:
                stages += in_inner_iteration(once, t)
        else:
            for t in loop.iterations:
                stages += self._stages(loop.body, self._inside(loop, frame, t), depth + 1)
        return stages

    def _parallel_loop(self, body: LaunchList, frame: Frame, iterations: int) -> list[Stage]:
        """The stages of a loop whose iterations run concurrently, each from end to end on one thread.

        What stands in loops in the body is written down once: there is a barrier after each of their iterations.
        """
        return [[(iterations, *row)] for row in self._pieces(body, frame, 0)]

    def _pieces(self, lowered: LaunchList, frame: Frame, depth: int) -> list[tuple[int, int, int, int]]:
        """First call, number of calls, iteration and inner iteration of the pieces of a parallel iteration."""
        pieces: list[tuple[int, int, int, int]] = []
        begin = len(self.calls)

        def cut() -> None:
            nonlocal begin
            if len(self.calls) > begin:
                pieces.append((begin, len(self.calls) - begin, 0, 0))
            begin = len(self.calls)

        for phase in lowered.paired_phases():
            for unit, node in phase:
                self._begin_unit(node, frame)
                assert not isinstance(unit, (Fork, Transfer)), "iterations with a fork are not parallel"
                if not isinstance(unit, Loop):
                    self._unrolled(unit, frame)
                    continue
                self._unrolled(unit.before, frame)
                if depth > 1:
                    for t in unit.iterations:
                        pieces_within = self._pieces(unit.body, self._inside(unit, frame, t), depth + 1)
                        assert len(pieces_within) <= 1
                    continue
                cut()
                moved = self._inside(unit, frame, stride=1 - depth, inner_stride=depth)
                once = self._pieces(unit.body, moved, depth + 1)
                begin = len(self.calls)
                for t in unit.iterations:
                    pieces += [(*piece[:2], piece[2] if depth else t, t if depth else piece[3]) for piece in once]
        cut()
        return pieces

    def _unrolled(self, stages: Stages, frame: Frame) -> None:
        """Write down the calls of all tiles, one after the other."""
        for launch in (launch for stage in stages for launch in stage if isinstance(launch, Launch)):
            for tile in range(launch.tiles):
                for call in launch.calls:
                    self._write(call, [self._word(_of_tile(arg, tile), frame) for arg in call.args])

    def _inside(
        self,
        loop: Loop,
        frame: Frame,
        iteration: int = 0,
        parallel_stride: int = 0,
        stride: int = 0,
        inner_stride: int = 0,
    ) -> Frame:
        """The frame of the body in an iteration, from where it moves on by so many slices a parallel iteration, an
        iteration, or an inner iteration.
        """
        node, scan, body = loop.node, Scan(loop.node), loop.body.plan

        def slices(start: Address, value: Value) -> Address:
            step = value.type.nbytes // max(scan.length, 1)
            return start.plus(iteration * step, parallel_stride * step, stride * step, inner_stride * step)

        carried = [frame.at(v) for v in scan.last_carries]
        inputs = [*map(frame.read, scan.consts), *carried, *(slices(frame.read(v), v) for v in scan.xs)]
        outputs = [*carried, *(slices(frame.at(v), v) for v in scan.ys)]
        # Parallel iterations have an arena each, one after the other all use the same.
        arena = frame.arena.plus(
            frame.plan.scratch.get(node, 0),
            parallel_stride=parallel_stride * body.target.round_to_line(body.arena_bytes),
        )
        return Frame(body, arena, inputs, outputs, self.constants[id(body)])

    def _body_frame(self, node: Node, body: Plan, frame: Frame) -> Frame:
        """The frame of a body that a flag decides on: carries are where the loop leaves them."""
        outputs = [frame.at(v) for v in node.outputs]
        consts = node.inputs[: node.attrs["consts"]] if node.op.is_while else node.inputs[1:]
        inputs = [*map(frame.read, consts), *(outputs if node.op.is_while else ())]
        arena = frame.arena.plus(frame.plan.scratch.get(node, 0))
        return Frame(body, arena, inputs, outputs, self.constants[id(body)])

    def arrays(self) -> dict[str, Any]:
        """The tables as `Program` takes them."""
        return {
            "launches": self.stretches.launches,
            "stretches": self.stretches.rows,
            "calls": np.array(self.calls, np.int64).reshape(-1, 3),
            "args": np.array(self.args, np.int64).reshape(-1, 7),
            "bases_count": self.bases,
        }


def _has_fork(stages: Sequence[Stage]) -> bool:
    return any(isinstance(stage, ForkRow) for stage in stages)


def _of_tile(arg: Arg, tile: int) -> Arg:
    """An argument where the tile is known."""
    match arg:
        case Tile():
            return tile
        case Scratch() if arg.tile_stride:
            return replace(arg, offset=arg.offset + tile * arg.tile_stride, tile_stride=0)
        case _:
            return arg
