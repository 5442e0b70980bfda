"""The GPU of this machine, as stages see it."""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from ...passes.cards import CARDS, TYPICAL
from ...passes.target import Target
from ...runtime.backend import backend_of, backend_replaced
from ...runtime.cuda.backend import CudaBackend
from ...runtime.cuda.gpu import Gpu
from ...runtime.cuda.presence import missing
from ...runtime.fake_gpu.backend import fake_cuda
from ...runtime.fake_gpu.driver import FakeDriver
from .stages import Options


def what_is_missing() -> list[str]:
    """Why nothing runs on a GPU here, each with the way to get it; empty where there is one."""
    return missing(_target())


def _target() -> Target:
    """A target of the capability of a card that is here, if one is; else of the default one."""
    targets = map(Target.cuda, (*TYPICAL, "sm_90"))
    return next((target for target in targets if not missing(target)), Target.cuda())


@dataclass(frozen=True)
class Session:
    """A GPU, and what is planned for it: with the libraries that are installed, and with kernels of our own alone."""

    gpu: Gpu
    target: Target
    own: Target
    driver: FakeDriver | None = None
    """What stands for NVIDIA's driver, if it is a fake."""

    def free_bytes(self) -> int:
        """What of the card's memory is free, when what nobody uses is given back."""
        gc.collect()
        self.gpu.device.synchronize()
        return self.gpu.device.free_bytes()[0]

    @property
    def emulated(self) -> Target:
        """What gives the bits of `own` on the CPU."""
        return replace(self.own, device="cuda-emulated")


@contextlib.contextmanager
def session(options: Options) -> Iterator[Session]:
    """The GPU of this process, or one that is a fake. Raises `TargetError` where there is none."""
    if not options.fake:
        yield _opened(_target(), backend_of(_target()), None)
        return
    driver = FakeDriver()
    backend = fake_cuda(driver)
    with backend_replaced("cuda", backend):
        yield _opened(Target.cuda(), backend_of(Target.cuda()), driver)


def _opened(target: Target, backend: object, driver: FakeDriver | None) -> Session:
    assert isinstance(backend, CudaBackend)
    gpu = backend.gpu
    named = backend.narrowed(Target.cuda(_card(gpu.device.name, target.capability or "")))
    return Session(gpu, named, replace(named, libraries=()), driver)


def _card(name: str, capability: str) -> str:
    """The card of the table that bears a name of the driver's, such as "NVIDIA GeForce RTX 4090"; else what stands for
    its capability.
    """
    words = re.split(r"[\s-]+", name.lower())
    said = {*words, *map("".join, pairwise(words))}
    return next((card for card, what in CARDS.items() if card in said and what.capability == capability), capability)
