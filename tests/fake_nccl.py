"""NCCL's bindings without NCCL: each rank has a fake driver with a card of its own, and bytes travel through Python."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

import gradloom as gl
from gradloom.passes.target import Target
from gradloom.runtime.backend import backend_replaced
from gradloom.runtime.cuda.backend import CudaBackend
from gradloom.runtime.fake_gpu.backend import fake_cuda
from gradloom.runtime.fake_gpu.driver import Code, FakeDriver


class NCCLError(Exception):
    """As NCCL's own, it is no more than an `Exception`."""


class UniqueId:
    def __init__(self, name: bytes) -> None:
        self.name = name

    def __bytes__(self) -> bytes:
        return self.name

    @staticmethod
    def from_buffer(name: bytes) -> UniqueId:
        assert len(name) == 128
        return UniqueId(name)


class FakeNccl:
    """The functions of `nccl.bindings.nccl` that we call, for one rank. What a stream is given happens when the stream
    comes to it, on all ranks together.
    """

    NCCLError, UniqueId = NCCLError, UniqueId

    def __init__(self, ranks: gl.ranks.Ranks, driver: FakeDriver) -> None:
        self.ranks, self.driver = ranks, driver
        self.fails = ""
        self.calls: list[str] = []
        self._group: list[tuple[str, int, int, int, int]] | None = None

    def get_unique_id(self) -> UniqueId:
        return UniqueId(b"%128d" % self.ranks.size)

    def comm_init_rank(self, size: int, name: UniqueId, rank: int) -> object:
        if self.fails == "comm_init_rank":
            raise NCCLError("NCCL_UNHANDLED_SYSTEM_ERROR (1)")
        assert bytes(name) == b"%128d" % size
        assert (size, rank) == (self.ranks.size, self.ranks.rank)
        return self

    def all_gather(self, sent: int, received: int, count: int, datatype: int, comm: object, stream: int) -> None:
        self.calls.append("all_gather")

        def gather() -> Code:
            every = self.ranks.gather(ctypes.string_at(sent, count))
            ctypes.memmove(received, b"".join(every), count * len(every))
            return Code.SUCCESS

        assert (datatype, comm) == (1, self)
        self.driver.give(self.driver.stream(stream), gather)

    def group_start(self) -> None:
        self._group = []

    def send(self, sent: int, count: int, datatype: int, peer: int, comm: object, stream: int) -> None:
        self._add("send", sent, count, peer, stream)

    def recv(self, received: int, count: int, datatype: int, peer: int, comm: object, stream: int) -> None:
        self._add("recv", received, count, peer, stream)

    def _add(self, *message: Any) -> None:
        assert self._group is not None, "messages to and from a rank are of one group, or they wait for each other"
        self._group.append(message)

    def group_end(self) -> None:
        self.calls.append("group_end")
        if self.fails == "group_end":
            raise NCCLError("NCCL_INVALID_USAGE (5)")
        assert self._group
        group, self._group = self._group, None

        def exchange() -> Code:
            sent = {peer: ctypes.string_at(at, n) for kind, at, n, peer, _ in group if kind == "send"}
            every = self.ranks.gather(sent)
            for kind, at, n, peer, _ in group:
                if kind == "recv":
                    assert len(every[peer][self.ranks.rank]) == n
                    ctypes.memmove(at, every[peer][self.ranks.rank], n)
            return Code.SUCCESS

        self.driver.give(self.driver.stream(group[0][-1]), exchange)


@contextlib.contextmanager
def fake_gpu_of(ranks: gl.ranks.Ranks, **options: Any) -> Iterator[FakeNccl]:
    """A fake driver for what this process compiles for "cuda" inside the block, with an NCCL to the others."""
    driver = FakeDriver(**options)
    nccl = FakeNccl(ranks, driver)
    with backend_replaced("cuda", fake_cuda(driver, nccl=nccl)):
        yield nccl


def joined(ranks: gl.ranks.Ranks, **options: Any) -> tuple[CudaBackend, FakeNccl]:
    """The same as a backend, for ranks that are threads of one process, once it has joined them."""
    driver = FakeDriver(**options)
    nccl = FakeNccl(ranks, driver)
    backend = fake_cuda(driver, nccl=nccl)
    backend.check(Target.cuda(), ranks)
    return backend, nccl
