"""Messages between ranks by NCCL, through `nccl.bindings.nccl` of nccl4py, on a stream beside that of the launches.

No sum over ranks is NCCL's: its order would depend on how cards are connected. Bytes travel, and kernels add them up in
the order of one tree (`passes/ranks/lower_collectives.py`), so that any number of ranks has the same bits.
"""

from __future__ import annotations

import importlib
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from ...ir.users_line import located
from ...passes.target import TargetError
from ..lowering.gpu_messages import MessageCall
from ..lowering.launch import Address
from .device import Device, DeviceError
from .gpu import Gpu

MODULE = "nccl.bindings.nccl"
_BYTE = 1
"""`ncclUint8`: what travels is bytes, whatever they mean."""

_T = TypeVar("_T")


class RanksTargetError(TargetError):
    """What all ranks raise together, where one of them cannot take part."""

    of_all_ranks = True


class Messages:
    """A communicator of all `ranks`, each with a device of its own: all make it together. `bindings` are those of NCCL,
    or stand for them.

    Raises `RanksTargetError` where NCCL gives none.
    """

    def __init__(self, bindings: Any, device: Device, ranks: Any) -> None:
        self._nccl, self._ranks = bindings, ranks
        self.stream = device.call("cuStreamCreate", 1)
        made = _together(ranks, lambda: bytes(bindings.get_unique_id()) if ranks.rank == 0 else b"")
        name = bindings.UniqueId.from_buffer(ranks.broadcast(made))
        with ranks.waiting("the communicator of NCCL"):
            self._communicator = _together(ranks, lambda: bindings.comm_init_rank(ranks.size, name, ranks.rank))

    @property
    def rank(self) -> int:
        """The number of the rank that runs."""
        return self._ranks.rank

    def waiting(self, what: str) -> Any:
        """A block in which this rank waits for the others."""
        return self._ranks.waiting(what)

    def begin(self, call: MessageCall, address: Callable[[Address], int]) -> None:
        """Put messages on the stream. Raises `DeviceError` where NCCL refuses them."""
        try:
            self._begin(call, address(call.sent), address(call.received))
        except self._nccl.NCCLError as error:
            raise DeviceError(f"NCCL refuses messages between ranks: {error}") from error

    def _begin(self, call: MessageCall, sent: int, received: int) -> None:
        nccl, communicator, stream, nbytes = self._nccl, self._communicator, int(self.stream), call.nbytes
        if call.kind == "gather":
            nccl.all_gather(sent, received, nbytes, _BYTE, communicator, stream)
            return
        others = range(self._ranks.size) if call.kind == "exchange" else (self.rank ^ call.distance,)
        nccl.group_start()
        for row, other in enumerate(others):
            nccl.send(sent + row * nbytes, nbytes, _BYTE, other, communicator, stream)
            nccl.recv(received + row * nbytes, nbytes, _BYTE, other, communicator, stream)
        nccl.group_end()


def join_ranks(ranks: Any, open_gpu: Callable[[int], Gpu], bindings: Any = None) -> Messages:
    """What sends messages between these ranks, all of which call this together; `open_gpu` opens the GPU of a process
    by its number among those of its machine.

    Raises `RanksTargetError` on all where one has no GPU, or none for itself, or where NCCL is missing.
    """
    host = socket.gethostname()
    hosts: list[str] = ranks.gather(host)
    gpu = _together(ranks, lambda: open_gpu(hosts[: ranks.rank].count(host)))
    nccl = _together(ranks, lambda: _imported() if bindings is None else bindings)
    cards: list[tuple[str, bytes]] = ranks.gather((host, gpu.device.uuid()))
    for rank, card in enumerate(cards):
        if (first := cards.index(card)) < rank:
            raise RanksTargetError(
                f"ranks {first} and {rank} have one GPU between them, on {card[0]}, and NCCL takes one for each rank: "
                "start no more ranks on a machine than it has GPUs (see nvidia-smi, and CUDA_VISIBLE_DEVICES), or "
                "write target='cpu'. A process keeps the GPU that it began with: let its first step have the ranks"
            )
    return Messages(nccl, gpu.device, ranks)


def _imported() -> Any:
    """NCCL's bindings, where they and the library are there."""
    try:
        bindings = importlib.import_module(MODULE)
        bindings.get_version()
    except (ImportError, RuntimeError) as error:  # no package, or no library for it
        why = str(error).partition("\n")[0]
        raise TargetError(located(f"ranks on GPUs need NCCL ({why}): pip install 'gradloom[nccl]'")) from error
    return bindings


def _together(ranks: Any, make: Callable[[], _T]) -> _T:
    """What `make` returns, where it does so on all ranks.

    Raises `RanksTargetError` on all of them with what the first rank says that fails: none waits for one that has.
    """
    made, why = None, ""
    try:
        made = make()
    except Exception as error:  # NCCL's own error is no more than an `Exception`
        why = f"rank {ranks.rank}: {error}"
    found = next(filter(None, ranks.gather(why)), "")
    if found or made is None:
        raise RanksTargetError(found)
    return made
