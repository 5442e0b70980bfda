"""Messages between ranks in the emulator: by mpi4py, from where values lie to where they lie."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from ..lowering.gpu_messages import MessageCall
from ..lowering.launch import Address


class EmulatedMessages:
    """What `ranks` send each other: they have `rank`, `size` and mpi4py's `communicator`."""

    def __init__(self, ranks: Any) -> None:
        self._ranks = ranks
        self._requests: dict[int, list[Any]] = {}

    @property
    def rank(self) -> int:
        """The number of the rank that runs."""
        return self._ranks.rank

    def begin(self, call: MessageCall, address: Callable[[Address], int]) -> None:
        """Begin messages. Those of a rank to itself are done then."""
        sent, received, nbytes, me = address(call.sent), address(call.received), call.nbytes, self.rank
        others = range(self._ranks.size) if call.kind != "swap" else (me ^ call.distance,)
        requests = self._requests[call.tag] = []
        for row, other in enumerate(others):
            source = sent + row * nbytes if call.kind == "exchange" else sent
            target = received + row * nbytes
            if other == me:
                ctypes.memmove(target, source, nbytes)
                continue
            communicator = self._ranks.communicator
            requests.append(communicator.Irecv(_bytes_at(target, nbytes), other, call.tag))
            requests.append(communicator.Isend(_bytes_at(source, nbytes), other, call.tag))

    def wait(self, tag: int) -> None:
        """Wait for the messages of a tag."""
        for request in self._requests.pop(tag):
            request.Wait()


def _bytes_at(address: int, nbytes: int) -> Any:
    return (ctypes.c_uint8 * nbytes).from_address(address)
