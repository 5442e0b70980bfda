"""The machine that a program is made for, as one value. Known elsewhere as a target description or a machine model.

Passes ask no host. What they choose follows from the graph and a `Target`: a plan for one machine can be made on any
other, and the bits of a step follow from the graph and the target alone. No number here is measured where a program is
made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


class TargetError(ValueError):
    """There is no target of this name, or this machine cannot run what was made for it."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A machine: what its registers and caches hold, and how long it takes.

    `Target.cpu("avx2")` is one of the table; `dataclasses.replace` makes others. Rates and times are of one core.
    """

    name: str
    """The instruction set whose registers these are."""
    device: str = "cpu"

    vector_bytes: int
    """Bytes of a vector register."""
    vector_registers: int
    masked: bool
    """To load or store some elements of a vector takes as long as all of them."""
    matmul: Literal["registers", "blas"]
    """What multiplies matrices of floats: register tiles of our own, or BLAS."""

    l1_bytes: int = 32 << 10
    """The first cache: a row and its buffers stay there."""
    l2_bytes: int = 1 << 20
    """The cache of a core: tiles stay there."""
    l3_bytes: int = 16 << 20
    """A core's share of the last cache: what is larger comes from memory every time."""
    line_bytes: int = 64
    """A cache line. Whatever has a place in the arena begins at one, so that no two workers write to one line."""

    matmul_flops_per_ns: float = 90.0
    """Floating-point operations of large products and convolutions."""
    cache_bytes_per_ns: float = 40.0
    memory_bytes_per_ns: float = 8.0
    element_ns: float = 0.05
    """An element of a cheap function, such as a sum, beside the reading and writing."""
    function_ns: float = 1.0
    """An element of a function that takes long, such as exp."""
    weight_pack_ns: float = 0.6
    """An element of a convolution's weight that is packed, across its strides."""
    weight_add_ns: float = 0.5
    """An element of a convolution's weight gradient that is added to the sum, across its strides."""
    launch_ns: float = 1_000.0
    """A unit begins: its kernels are called."""
    barrier_ns: float = 10_000.0
    """Threads that share a unit wait for the last of them."""
    packed_rows: int = 12
    """To pack the weight of a product takes as long as so many rows more of the product."""

    def __post_init__(self) -> None:
        if self.matmul not in ("registers", "blas"):
            raise TargetError(f"matmul of a target is 'registers' or 'blas', got {self.matmul!r}")
        for name, value in vars(self).items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and not value > 0:
                raise TargetError(f"{name} of a target is above 0, got {value!r}")
        for name in ("vector_bytes", "line_bytes"):
            value = getattr(self, name)
            if value < 16 or value & (value - 1):
                raise TargetError(f"{name} of a target is a power of two of 16 or more, got {value!r}")
        for name in ("l1_bytes", "l2_bytes", "l3_bytes"):
            if getattr(self, name) < 16:
                raise TargetError(f"{name} of a target is 16 or more, got {getattr(self, name)!r}")

    @staticmethod
    def cpu(name: str | None = None) -> Target:
        """The CPU with these instructions: "avx512", "avx2", "sse", "neon" or "generic"; by default this machine's.

        Raises `TargetError` for any other name.
        """
        if name is None:
            name = _host_cpu[-1]()
        if name not in _CPUS:
            raise TargetError(f"there is no CPU target {name!r}; there are {', '.join(map(repr, _CPUS))}")
        return _CPUS[name]

    def __str__(self) -> str:
        return f"{self.device}:{self.name}"

    def __repr__(self) -> str:
        if _CPUS.get(self.name) == self:
            return f"Target.cpu({self.name!r})"
        return f"Target({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def round_to_line(self, nbytes: int) -> int:
        """`nbytes` rounded up to whole cache lines."""
        return -(-nbytes // self.line_bytes) * self.line_bytes

    @property
    def tile_vectors(self) -> int:
        """The most vectors of a row of a register tile: a row of the right operand takes an eighth of the registers."""
        return max(1, self.vector_registers // 8)

    def tile_rows(self, vectors: int) -> int:
        """The most rows of a register tile of so many vectors.

        Sums, a row of vectors and one that repeats an element fit the registers: one register too many costs a fifth of
        the speed. More than 14 rows read more of the left operand than they save.
        """
        return max(1, min(14, (self.vector_registers - 1 - vectors) // vectors))


def tells_host(detect: Callable[[], str]) -> Callable[[], str]:
    """Decorates the function that names the CPU of this machine, for `Target.cpu()`: the runtime has it."""
    _host_cpu.append(detect)
    return detect


def _no_host() -> str:
    raise TargetError("nothing here tells this machine's CPU; name it, as in Target.cpu('avx2')")


_host_cpu: list[Callable[[], str]] = [_no_host]

_CPUS = {
    target.name: target
    for target in (
        Target(name="avx512", vector_bytes=64, vector_registers=32, masked=True, matmul="registers"),
        Target(name="avx2", vector_bytes=32, vector_registers=16, masked=False, matmul="blas"),
        Target(name="sse", vector_bytes=16, vector_registers=16, masked=False, matmul="blas"),
        Target(name="neon", vector_bytes=16, vector_registers=32, masked=False, matmul="blas"),
        Target(name="generic", vector_bytes=16, vector_registers=16, masked=False, matmul="blas"),
    )
}

DEFAULT_TARGET = _CPUS["avx512"]
"""What passes plan for where nobody says otherwise: the same on every machine."""
