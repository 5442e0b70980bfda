"""Launches of a plan as CUDA graphs: captured once, at fixed addresses, and launched as often as it runs.

A `while_loop` or a `cond` is decided on the host: the graph before it ends there, the flag is read, and a graph of the
body follows. That waits, once for each decision. Everything else waits for nothing.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..lowering.gpu_copies import copy_array
from ..lowering.gpu_messages import MessageCall, MessageWait
from ..lowering.launch import Call, Launch, Transfer
from ..lowering.launch_list import Fork
from ..lowering.library_call import ConvolutionCall, ProductCall
from ..lowering.places import Part, Places, parts
from .device import Device, DeviceError
from .libraries import Libraries
from .messages import Messages

_HEAD = "def kernel(b):\n"
MOST_NODES = 20_000
"""Launches in one graph: a longer program is several graphs, one after the other."""


class Graph:
    """A captured graph of so many launches, ready to be launched."""

    def __init__(self, device: Device, executable: Any, launches: int) -> None:
        self.executable, self.launches = executable, launches
        weakref.finalize(self, device.free_later, "cuGraphExecDestroy", executable).atexit = False


@dataclass(frozen=True)
class Decision:
    """A fork: what runs where the flag at an address holds, and, of a `cond`, where it does not."""

    flag: int
    repeats: bool
    bodies: list[list[Piece]]


class Check:
    """What follows cannot look at the error word, and overwrites an input: it runs where nothing has trapped."""


Piece = Graph | Decision | Check


@dataclass(frozen=True)
class Wait:
    """What follows waits for a transfer."""

    transfer: Transfer


Guarded = tuple[Part, bool] | Wait
"""What is captured; of a part whether a trap keeps it from running."""


class Capture:
    """Captures the launches of one program. `function` finds the code of a kernel by its source and its number of
    words; `error` is the address of the word to which traps write their code.

    Transfers go to a stream for each direction, which begins and ends beside the launches between; `messages` to one of
    their own.
    """

    def __init__(
        self,
        device: Device,
        function: Callable[[str, int], Any],
        libraries: Libraries,
        error: int,
        messages: Messages | None = None,
    ) -> None:
        self._device, self._function, self._libraries, self._error = device, function, libraries, error
        self._messages = messages
        self._captured, self._checked = 0, False
        self._begun: dict[Transfer | int, Any] = {}
        """Events behind transfers, and behind messages by their tags, for which nothing waits yet."""

    def pieces(self, listed: Iterable[Guarded]) -> list[Piece]:
        """What is listed, in its order."""
        pieces: list[Piece] = []
        self._begin()
        try:
            for each in listed:
                if isinstance(each, Wait):
                    self._wait(each.transfer)
                    continue
                (part, _, places), guarded = each
                if isinstance(part, Fork):
                    self._end(pieces)
                    pieces.append(self._decision(part, places, guarded))
                    self._begin()
                    continue
                is_unchecked = guarded and isinstance(part, (ProductCall, ConvolutionCall)) and not self._checked
                if self._captured >= MOST_NODES or is_unchecked:
                    self._end(pieces)
                    if is_unchecked:  # once: nothing traps behind what overwrites an input
                        pieces.append(Check())
                        self._checked = True
                    self._begin()
                self._give(part, places, guarded)
        except BaseException:
            with contextlib.suppress(DeviceError):
                self._device.call("cuStreamEndCapture", self._device.captured)
            raise
        self._end(pieces)
        return pieces

    def _begin(self) -> None:
        # Relaxed: what another thread does with the device meanwhile, or a finalizer, is no part of the graph.
        mode = self._device.driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        self._device.call("cuStreamBeginCapture", self._device.captured, mode)
        self._captured = 0

    def _end(self, pieces: list[Piece]) -> None:
        for begun in list(self._begun):
            self._wait(begun)
        graph = self._device.call("cuStreamEndCapture", self._device.captured)
        if self._captured:
            pieces.append(Graph(self._device, self._device.call("cuGraphInstantiate", graph, 0), self._captured))
        self._device.call("cuGraphDestroy", graph)

    def _decision(self, fork: Fork, places: Places, guarded: bool) -> Decision:
        bodies = [
            self.pieces((part, guarded) for part in parts(body, places.branch(fork.node, body.plan)))
            for body in fork.bodies
        ]
        return Decision(places.word(fork.flag), fork.node.op.is_while, bodies)

    def _give(self, item: Any, places: Places, guarded: bool) -> None:
        """Give what runs to the stream that is captured."""
        match item:
            case Launch():
                self._give_kernel(item, places, guarded, self._device.captured)
            case Transfer():
                self._begin_transfer(item, places, guarded)
            case MessageCall():
                self._begin_messages(item, places)
            case MessageWait():
                self._wait(item.tag)
            case ProductCall() | ConvolutionCall():
                self._libraries.run(item, places.word, self._device.captured)
            case _:
                raise AssertionError(f"{item} does not run on a GPU")
        self._captured += 1

    def _give_kernel(self, launch: Launch, places: Places, guarded: bool, stream: Any) -> None:
        (call,) = launch.calls
        if not launch.tiles:
            return
        source, count = kernel_of(call, guarded)
        own = map(places.word, call.args)
        words = np.array([*own, *[self._error] * (count - len(call.args) + 1)], np.int64)
        pointers = words.ctypes.data + 8 * np.arange(words.size, dtype=np.int64)
        blocks = min(launch.tiles, places.plan.threads)
        self._device.call(
            "cuLaunchKernel", self._function(source, count), blocks, 1, 1, launch.threads, 1, 1, 0, stream,
            pointers.ctypes.data, 0,
        )  # fmt: skip

    # ---- beside the launches

    def _begin_transfer(self, transfer: Transfer, places: Places, guarded: bool) -> None:
        call, stream = self._device.call, self._device.transfers[transfer.to_host]
        self._device.wait_for(stream, self._device.captured)
        if guarded:
            # A copy by the device itself cannot look at the error word.
            self._give_kernel(guarded_transfer(transfer), places, True, stream)
        else:
            name = "cuMemcpyDtoHAsync" if transfer.to_host else "cuMemcpyHtoDAsync"
            call(name, places.word(transfer.target), places.word(transfer.source), transfer.nbytes, stream)
        self._note(transfer, stream)

    def _begin_messages(self, item: MessageCall, places: Places) -> None:
        assert self._messages is not None, "a plan with collectives, and no ranks"
        self._device.wait_for(self._messages.stream, self._device.captured)
        self._messages.begin(item, places.word)
        self._note(item.tag, self._messages.stream)

    def _note(self, begun: Transfer | int, stream: Any) -> None:
        event = self._begun[begun] = self._device.call("cuEventCreate", 2)
        self._device.call("cuEventRecord", event, stream)

    def _wait(self, begun: Transfer | int) -> None:
        """Let launches that follow wait for a transfer, or for the messages of a tag, unless they do already."""
        event = self._begun.pop(begun, None)
        if event is not None:
            self._device.call("cuStreamWaitEvent", self._device.captured, event, 0)
            self._device.call("cuEventDestroy", event)


def guarded_transfer(transfer: Transfer) -> Launch:
    """The launch that does a transfer."""
    return copy_array(transfer.source, transfer.target, transfer.source.value.type)


def kernel_of(call: Call, guarded: bool) -> tuple[str, int]:
    """The source of a kernel, and how many words it reads.

    A `guarded` one does nothing where the error word has a code. It reads the word's address behind its own words.
    """
    if not guarded:
        return call.source, len(call.args)
    head, begins, body = call.source.partition(_HEAD)
    assert begins, "a kernel begins with its head"
    error = f"array_i64(word(b, {len(call.args)}), 1)"
    return f"{head}{begins}    if {error}[0] != 0:\n        return i64(0)\n{body}", len(call.args) + 1
