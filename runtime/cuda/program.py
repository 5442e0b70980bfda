"""A plan on a GPU: its kernels, the memory that it works in, and the graphs that run it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...ir import Array, ArrayType, Node
from ...ir.ops import elementwise
from ...passes.memory.plan import Plan
from ..codegen.fork_lock import interrupted
from ..lowering.launch import Call, Transfer
from ..lowering.launch_list import LaunchList, launches_of, lower
from ..lowering.places import Places, unit_parts
from ..lowering.refusal import refusal
from ..pending_array import PendingArray
from .capture import Capture, Decision, Graph, Guarded, Piece, Wait, guarded_transfer, kernel_of
from .device import LEGACY_STREAM, DeviceMemory
from .device_array import DeviceArray
from .foreign import ForeignArray
from .gpu import Gpu
from .messages import Messages
from .modules import Source
from .outputs import ArenaOutput
from .runs import Run, Runs
from .staging import Layout, Slot, Slots

_SMALL_BYTES = 16 << 10
"""Outputs in the arena of up to this size come to the host with every run."""


class CudaProgram:
    """What `Program` of `runtime/backend.py` asks for.

    A run copies the inputs that are the host's to memory of the device, launches the graphs, and lets small results
    come behind them: it returns before any of this has happened, unless arrays of the host are to be written, or
    numbers are checked. Its error is then raised later: see `Runs`.
    """

    def __init__(self, gpu: Gpu, plan: Plan, arena: DeviceMemory, messages: Messages | None = None) -> None:
        self.plan = plan
        self._messages = messages
        self._runs, self._device, self._modules, self._libraries = gpu.runs, gpu.device, gpu.modules, gpu.libraries
        self._lowered = lower(plan, supports=self._libraries.supports)
        self._traps = self._lowered.traps.entries
        start = time.perf_counter()
        uses: dict[Source, list[Node]] = {}
        for call, node, guarded in _calls(self._lowered):
            uses.setdefault(kernel_of(call, guarded), []).extend([] if node is None else [node])
        self.kernels = self._modules.load(list(uses))
        self.kernel_users = list(uses.values())
        self.kernel_seconds = time.perf_counter() - start
        places = [plan.locations[value].place for value in plan.graph.outputs]
        self._results = Layout(
            {
                i: value.type
                for i, value in enumerate(plan.graph.outputs)
                if places[i] == "arena" and value.type.nbytes <= _SMALL_BYTES
            }
        )
        at = {i: plan.locations[plan.graph.outputs[i]].offset for i in self._results.types}
        self._collected = [
            (self._results.offsets[i], at[i], type.nbytes) for i, type in self._results.types.items() if type.nbytes
        ]
        """Where in a slot each small output goes, where in the arena it is, and its bytes."""
        self._given_back = [i for i, place in enumerate(places) if place == "output"]
        self._checks_numbers = any(trap.node.op is elementwise.check_finite for trap in self._traps)
        self._inputs: dict[int, Array | DeviceArray] = {}
        self._outputs: dict[int, Array] = {}
        self._held: _Held | None = None
        self._pieces: list[Piece] | None = None
        self._last: Run | None = None
        self._running = False
        self.use_arena(arena)

    @property
    def arena_bytes(self) -> int:
        """What the plan needs of the arena."""
        return self.plan.arena_bytes

    # ---- memory

    def use_arena(self, arena: DeviceMemory) -> None:
        """Work in `arena` from now on."""
        assert arena.nbytes >= self.plan.arena_bytes
        self._arena, self._pieces = arena, None

    def bind_input(self, i: int, array: Array | DeviceArray) -> None:
        """Let input `i` of the graph be read (and, if aliased, overwritten) in `array`: in its place where it is the
        device's, else in a copy that each run makes anew.
        """
        before = self._inputs.get(i)
        if isinstance(before, DeviceArray) or isinstance(array, DeviceArray):
            self._held = self._pieces = None
        self._inputs[i] = array

    def bind_output(self, i: int, array: Array) -> None:
        """Let output `i` of the graph be written to `array`, an array of the host."""
        self._outputs[i] = array

    def output_in_arena(self, i: int) -> ArenaOutput:
        """A view of output `i`, of a plan made with `outputs_in_arena`; the next run overwrites it."""
        value = self.plan.graph.outputs[i]
        location = self.plan.locations[value]
        array = DeviceArray(self._arena, location.offset, value.type, self._runs.check_all)
        return ArenaOutput(array, lambda: self._result(i, value.type))

    def _result(self, i: int, type: ArrayType) -> PendingArray | None:
        """Output `i` of the last run, where it comes to the host by itself."""
        run = self._last
        if run is None or i not in self._results.types:
            return None
        return PendingArray(lambda: self._waited_for(run, i), type.shape, type.dtype)

    def _waited_for(self, run: Run, i: int) -> Array:
        with contextlib.nullcontext() if self._messages is None else self._messages.waiting("what the GPUs compute"):
            return self._runs.result(run, i)

    # ---- running

    def run(self, inputs: Sequence[Array] = (), outputs: Sequence[Array] = (), first_input: int = 0) -> None:
        """Run once, with `inputs`, from number `first_input` of the graph on, and `outputs` for this run alone.

        Raises what a run on a CPU raises, of this run where it waits, else of one before; `DeviceError`; and
        `TargetError` where there is not enough memory.
        """
        with self._device.lock:
            if self._running:
                raise interrupted("a program")
            self._running = True
            try:
                self._run(dict(enumerate(inputs, first_input)), self._outputs | dict(enumerate(outputs)))
            finally:
                self._running = False

    def _run(self, given: dict[int, Any], outputs: dict[int, Array]) -> None:
        self._runs.check()  # which lets this thread work with the device
        held = self._held = self._held or self._hold()
        if self._pieces is None:
            self._pieces = self._captured(held)
        slot = held.slots.next(self._runs)
        arrays: dict[int, Any] = self._inputs | given
        try:
            self._stage(held, slot, arrays)
            self._launch(self._pieces, slot)
            run = self._collect(slot)
        except BaseException:
            # Interrupted: nobody knows how far it came, and the slot must not be written before it is read.
            self._runs.undone += 1
            self._device.synchronize()
            raise
        written = [(arrays[j], held.inputs, j) for j in held.overwritten]
        written += [(outputs[i], held.outputs, i) for i in self._given_back]
        if written or self._checks_numbers:
            self._runs.settle(run)
        for array, layout, key in written:
            self._read(array, held.address(layout, key))

    def _hold(self) -> _Held:
        graph = self.plan.graph
        own = {i: v.type for i, v in enumerate(graph.inputs) if not isinstance(self._inputs.get(i), DeviceArray)}
        overwritten = [j for j in graph.aliases.values() if j in own]
        constants = {value: value.type for each in self._lowered.plans() for value in each.constants}
        outputs = {i: graph.outputs[i].type for i in self._given_back}
        held = _Held(self._runs, Layout(own), Layout(constants), Layout(outputs), self._results, overwritten)
        held.host = self._device.allocate_pinned(self.plan.host_bytes)
        for value in constants:
            assert value.node is not None
            array = np.ascontiguousarray(value.node.attrs["value"])
            self._device.write(held.address(held.constants, value), array.ctypes.data, array.nbytes)
        return held

    def _captured(self, held: _Held) -> list[Piece]:
        return self.capture().pieces(self._listed(held))

    def capture(self) -> Capture:
        """What makes graphs of parts of this program."""
        return Capture(self._device, self._modules.function, self._libraries, self._runs.error, self._messages)

    def parts(self) -> list[Guarded]:
        """All parts of a run, in their order, at the addresses that they work at."""
        self._held = self._held or self._hold()
        return self._listed(self._held)

    def _listed(self, held: _Held) -> list[Guarded]:
        graph = self.plan.graph
        inputs: list[int] = []
        for i in range(len(graph.inputs)):
            array = self._inputs.get(i)
            inputs.append(array.address if isinstance(array, DeviceArray) else held.address(held.inputs, i))
        outputs = [held.address(held.outputs, i) if i in held.outputs.types else 0 for i in range(len(graph.outputs))]
        constants = {
            id(each): [held.address(held.constants, value) for value in each.constants]
            for each in self._lowered.plans()
        }
        rank = 0 if self._messages is None else self._messages.rank
        places = Places(self.plan, self._arena.address, inputs, outputs, constants, held.host.address, rank)
        listed = list(_parts(self._lowered, places))
        for each in listed:
            if not isinstance(each, Wait):
                (part, _, at), _ = each
                self._libraries.prepare(part, at.word)
        return listed

    def _stage(self, held: _Held, slot: Slot, arrays: dict[int, Any]) -> None:
        """Copy inputs of the host into a slot, and let the device copy them from there, and those of the device."""
        call, stream = self._device.call, self._device.stream
        if self._device.has_readers:
            self._device.wait_for(stream, LEGACY_STREAM)
        there = [i for i in slot.inputs if isinstance(arrays[i], (DeviceArray, ForeignArray))]
        for i, place in slot.inputs.items():
            if i not in there:
                place[...] = arrays[i]
        if there:
            for i, place in slot.inputs.items():
                to = held.address(held.inputs, i)
                if i not in there:
                    call("cuMemcpyHtoDAsync", to, place.ctypes.data, place.nbytes, stream)
                elif isinstance(arrays[i], DeviceArray):
                    call("cuMemcpyDtoDAsync", to, arrays[i].address, place.nbytes, stream)
                else:
                    arrays[i].copy_to(to)
        elif held.inputs.nbytes:
            call("cuMemcpyHtoDAsync", held.memory.address, slot.address, held.inputs.nbytes, stream)
        slot.kept = [arrays[i] for i in there]

    def _launch(self, pieces: Sequence[Piece], slot: Slot) -> bool:
        """Launch pieces in order; false where a trap was met, behind which nothing is decided any more."""
        for piece in pieces:
            if isinstance(piece, Graph):
                self._device.call("cuGraphLaunch", piece.executable, self._device.stream)
            elif isinstance(piece, Decision):
                if not self._decide(piece, slot):
                    return False
            elif self._trapped(slot):
                return False
        return True

    def _decide(self, decision: Decision, slot: Slot) -> bool:
        true, *false = decision.bodies
        while self._flag(decision, slot):
            if not self._launch(true, slot):
                return False
            if not decision.repeats:
                return True
        if int(slot.code):
            return False
        return decision.repeats or self._launch(false[0], slot)

    def _flag(self, decision: Decision, slot: Slot) -> bool:
        """Whether a flag holds, for which this waits, and no trap was met."""
        self._device.call("cuMemcpyDtoHAsync", slot.flag_address, decision.flag, 1, self._device.stream)
        return not self._trapped(slot) and bool(slot.flag)

    def _trapped(self, slot: Slot) -> bool:
        """Whether something has trapped, for which this waits."""
        self._device.call("cuMemcpyDtoHAsync", slot.code_address, self._runs.error, 8, self._device.stream)
        self._device.synchronize()
        return bool(int(slot.code))

    def _collect(self, slot: Slot) -> Run:
        """Let small results come, behind what was launched."""
        call, stream = self._device.call, self._device.stream
        for to, source, nbytes in self._collected:
            call("cuMemcpyDtoHAsync", slot.results_address + to, self._arena.address + source, nbytes, stream)
        if self._traps:
            call("cuMemcpyDtoHAsync", slot.code_address, self._runs.error, 8, stream)
        call("cuEventRecord", slot.event, stream)
        slot.run = self._last = Run(slot.event, slot.read, lambda code: refusal(self._traps[code - 1]))
        self._runs.add(slot.run)
        return slot.run

    def _read(self, array: Array, address: int) -> None:
        dense = array if array.flags.c_contiguous else np.empty(array.shape, array.dtype)
        self._device.read(dense.ctypes.data, address, dense.nbytes)
        if dense is not array:
            array[...] = dense


class _Held:
    """Memory of the device beside the arena: copies of the host's inputs, constants, and outputs that the host gets;
    with the slots that they are copied from and to.
    """

    def __init__(
        self, runs: Runs, inputs: Layout, constants: Layout, outputs: Layout, results: Layout, overwritten: list[int]
    ) -> None:
        self.inputs, self.constants, self.outputs, self.overwritten = inputs, constants, outputs, overwritten
        nbytes = inputs.nbytes + constants.nbytes + outputs.nbytes
        self.memory = runs.device.allocate(nbytes, "what a program reads and writes beside its arena")
        self.slots = Slots(runs.device, inputs, results)
        self.host = runs.device.allocate_pinned(0)
        """Where values of the plan lie that move to the memory of the host and back."""

    def address(self, layout: Layout, key: Any) -> int:
        """Where an array of one of the layouts is."""
        before = 0 if layout is self.inputs else self.inputs.nbytes
        before += self.constants.nbytes if layout is self.outputs else 0
        return self.memory.address + before + layout.offsets[key]


def _overwrites(lowered: LaunchList, node: Node | None) -> bool:
    """Whether a unit overwrites an input, so that it does nothing where something trapped."""
    if not lowered.traps.entries:
        return False
    return node is None or any(lowered.plan.locations[value].place == "input" for value in node.outputs)


def _parts(lowered: LaunchList, places: Places) -> Iterator[Guarded]:
    done = lowered.transfers_done()
    for number, phase in enumerate(lowered.paired_phases()):
        for unit, node in phase:
            guarded = _overwrites(lowered, node)
            yield from ((part, guarded) for part in unit_parts(unit, node, places))
        for transfer in done.get(number, ()):
            yield Wait(transfer)


def _calls(lowered: LaunchList) -> Iterator[tuple[Call, Node | None, bool]]:
    """All calls of kernels, each with its node, and whether a trap keeps it from running."""
    for unit, node in lowered.units():
        guarded = _overwrites(lowered, node)
        launches = list(launches_of(unit, node))
        if isinstance(unit, Transfer) and guarded:
            launches.append((guarded_transfer(unit), node))
        for launch, owner in launches:
            yield from ((call, owner, guarded) for call in launch.calls)
