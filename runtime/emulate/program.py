"""A plan for a GPU, run on this CPU: its launches one after another, in the order of the plan."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir import Array, Node
from ...passes.memory.plan import Plan
from ..codegen.fork_lock import fork_lock, interrupted
from ..codegen.kernel_cache import Kernel
from ..cpu.executable import allocate
from ..lowering.gpu_messages import MessageCall, MessageWait
from ..lowering.launch import Launch, Transfer
from ..lowering.launch_list import Fork, Item, LaunchList, Loop, Unit, lower, stages_of
from ..lowering.places import Places
from ..lowering.refusal import refusal
from .accesses import Accesses, conflict
from .launch import KernelFault, emulated_kernel, run_launch
from .messages import EmulatedMessages

_WHY = "the emulator keeps no machine code"


class EmulatedProgram:
    """What `Program` of `runtime/backend.py` asks for: the kernels of a plan, and the memory that it works in.

    `checked`, each access of an element is looked at first; a run then raises `KernelFault` for what no GPU defines.
    """

    def __init__(self, plan: Plan, arena: Array, checked: bool = True, ranks: Any = None) -> None:
        self.plan = plan
        self._messages = None if ranks is None else EmulatedMessages(ranks)
        self._lowered = lower(plan)
        self._lock = fork_lock()
        self._running = False
        self._checked = checked
        uses: dict[str, list[Node]] = {}
        for source, node in self._lowered.uses():
            uses.setdefault(source, []).extend([] if node is None else [node])
        start = time.perf_counter()
        self.kernels = [self._compile(source) for source in uses]
        self.kernel_users = list(uses.values())
        self.kernel_seconds = time.perf_counter() - start
        self._inputs: list[Array | None] = [None] * len(plan.graph.inputs)
        self._outputs: list[Array | None] = [None] * len(plan.graph.outputs)
        self._constants = {
            id(each): [np.ascontiguousarray(v.node.attrs["value"]) for v in each.constants if v.node is not None]
            for each in self._lowered.plans()
        }
        self._host = allocate(plan.host_bytes)
        self._transfers_done = self._lowered.transfers_done()
        self.use_arena(arena)

    def _compile(self, source: str) -> Kernel:
        start = time.perf_counter()
        code = emulated_kernel(source, checked=self._checked).code
        return Kernel("kernel", code.address, time.perf_counter() - start, False, _WHY)

    @property
    def arena_bytes(self) -> int:
        """What the plan needs of the arena."""
        return self.plan.arena_bytes

    def use_arena(self, arena: Array) -> None:
        """Work in `arena` from now on: at least `arena_bytes`, beginning at a line of the target."""
        assert arena.nbytes >= self.plan.arena_bytes
        self._arena = arena

    def bind_input(self, i: int, array: Array) -> None:
        """Let input `i` of the graph be read (and, if aliased, overwritten) in `array`."""
        self._inputs[i] = array

    def bind_output(self, i: int, array: Array) -> None:
        """Let output `i` of the graph be written to `array`."""
        self._outputs[i] = array

    def output_in_arena(self, i: int) -> Array:
        """A view of output `i`, of a plan made with `outputs_in_arena`; the next run overwrites it."""
        value = self.plan.graph.outputs[i]
        location = self.plan.locations[value]
        memory = self._arena[location.offset : location.offset + value.type.nbytes]
        return memory.view(value.type.dtype).reshape(value.type.shape)

    def run(self, inputs: Sequence[Array] = (), outputs: Sequence[Array] = (), first_input: int = 0) -> None:
        """Run once, with `inputs`, from number `first_input` of the graph on, and `outputs` for this run alone.

        Raises what a run on a CPU raises, and `KernelFault`.
        """
        with self._lock:
            if self._running:
                raise interrupted("a program")
            self._running = True
            try:
                given = [*self._inputs[:first_input], *inputs, *self._inputs[first_input + len(inputs) :]]
                taken = [*outputs, *self._outputs[len(outputs) :]]
                constants = {key: [_address(array) for array in arrays] for key, arrays in self._constants.items()}
                addresses = [_address(array) for array in given], [_address(array) for array in taken]
                memory = _address(self._arena), *addresses, constants, _address(self._host)
                rank = 0 if self._messages is None else self._messages.rank
                self._places = Places(self.plan, *memory, rank)
                self._run(self._lowered, self._places, None)
            finally:
                self._running = False

    def _run(self, lowered: LaunchList, places: Places, noted: Accesses | None) -> None:
        """Runs phase after phase, and adds what they access to `noted`."""
        for number, phase in enumerate(lowered.paired_phases()):
            each = [self._accesses(len(phase), noted) for _ in phase]
            for (unit, node), accesses in zip(phase, each):
                self._run_unit(unit, node, places, accesses)
            self._check_apart([node for _, node in phase], each, noted)
            if lowered is self._lowered:
                for transfer in self._transfers_done.get(number, ()):
                    ctypes.memmove(places.word(transfer.target), places.word(transfer.source), transfer.nbytes)

    def _run_unit(self, unit: Unit, node: Node | None, places: Places, noted: Accesses | None) -> None:
        for stage in stages_of(unit):
            each = [self._accesses(len(stage), noted) for _ in stage]
            for item, accesses in zip(stage, each):
                self._run_item(item, node, places, accesses)
            self._check_apart([node for _ in stage], each, noted)
        if isinstance(unit, Loop):
            for t in unit.iterations:
                self._run(unit.body, places.iteration(unit, t), noted)
        elif isinstance(unit, Fork):
            self._run_fork(unit, places, noted)
        elif isinstance(unit, Transfer):
            # The bytes move when the transfer has to be done: before, its target holds NaN, so that what reads that too
            # early shows, and so does what overwrites the source.
            ctypes.memset(places.word(unit.target), 0xFF, unit.nbytes)

    def _accesses(self, concurrent: int, noted: Accesses | None) -> Accesses | None:
        """To be filled in with what one of so many that may run at the same time accesses; None where nobody asks."""
        if not self._checked or concurrent == 1:
            return noted
        return Accesses()

    def _check_apart(
        self, nodes: Sequence[Node | None], each: Sequence[Accesses | None], noted: Accesses | None
    ) -> None:
        """What may run at the same time accesses nothing that another of it writes."""
        seen = [accesses for accesses in each if accesses is not None]
        if len(seen) < 2:
            return
        if (found := conflict(seen)) is not None:
            writer, other, address = found
            one, two, place = _named(nodes[writer]), _named(nodes[other]), self._places.describe(address)
            what = f"that of {one} writes {place}, which that of {two} accesses, and both may run at the same time"
            raise KernelFault(f"race between launches: {what}", "race")
        if noted is not None:
            noted.add(seen)

    def _run_fork(self, fork: Fork, places: Places, noted: Accesses | None) -> None:
        true, *false = fork.bodies
        flag = places.word(fork.flag)

        def holds() -> bool:
            return ctypes.c_bool.from_address(flag).value

        if fork.node.op.is_while:
            while holds():
                self._run(true, places.branch(fork.node, true.plan), noted)
        else:
            body = true if holds() else false[0]
            self._run(body, places.branch(fork.node, body.plan), noted)

    def _run_item(self, item: Item, node: Node | None, places: Places, noted: Accesses | None) -> None:
        match item:
            case Launch():
                self._launch(item, node, places, noted)
            case MessageCall():
                assert self._messages is not None, "a plan with collectives, and no ranks"
                self._messages.begin(item, places.word)
            case MessageWait():
                assert self._messages is not None, "a plan with collectives, and no ranks"
                self._messages.wait(item.tag)
            case _:
                raise AssertionError("what is emulated has no libraries")

    def _launch(self, launch: Launch, node: Node | None, places: Places, noted: Accesses | None) -> None:
        (call,) = launch.calls
        kernel = emulated_kernel(call.source, checked=self._checked)
        words = [places.word(arg) for arg in call.args]
        extents = list(dict.fromkeys(places.extents(call))) if self._checked else []
        blocks = min(launch.tiles, places.plan.threads)
        try:
            code = run_launch(kernel, blocks, launch.threads, words, extents, noted)
        except KernelFault as fault:
            units = launch.units or (() if node is None else (node,))
            if units:
                fault.add_note(f"The kernel is that of {', '.join(map(_named, units))}.")
            raise
        if code:
            raise refusal(self._lowered.traps.entries[code - 1])


def _named(node: Node | None) -> str:
    if node is None:
        return "a copy to where an input is"
    return node.op.name + (f" at {node.origin.source}" if node.origin.source else "")


def _address(array: Array | None) -> int:
    """The address of the first element."""
    return 0 if array is None else array.__array_interface__["data"][0]
