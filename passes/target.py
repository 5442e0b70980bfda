"""The machine that a program is made for, as one value. Known elsewhere as a target description or a machine model.

Passes ask no host. What they choose follows from the graph and a `Target`: a plan for one machine can be made on any
other, and the bits of a step follow from the graph and the target alone. No number here is measured where a program is
made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ..ir.near_names import similar
from ..ir.users_line import located
from .cards import CARDS, TYPICAL, Card

MOST_PARALLEL = 4
"""Iterations of a loop that may run concurrently, each from end to end on one core and in an arena of its own."""
MOST_CORES = 256
"""Threads that a step runs on, at most."""
LIBRARIES = ("cublaslt", "cudnn")
"""The libraries of a GPU: cuBLASLt for products, cuDNN for convolutions. What is emulated has none."""


class TargetError(ValueError):
    """There is no target of this name, or this machine cannot run what was made for it."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A machine: what its registers and caches hold, and how long it takes.

    `Target.cpu("avx2")` and `Target.cuda("h100")` are of the tables; `dataclasses.replace` makes others. Rates and
    times are of one worker: of a core, or of one of the blocks that a GPU runs at a time.
    """

    name: str
    """The instruction set whose registers these are; of a GPU its compute capability or the card."""
    device: str = "cpu"
    """What runs it: "cpu", "cuda", or "cuda-emulated", which does on the CPU what a GPU would."""

    vector_bytes: int
    """Bytes of a vector register."""
    vector_registers: int
    masked: bool
    """To load or store some elements of a vector takes as long as all of them."""
    matmul: Literal["registers", "blas", "blocks"]
    """What multiplies matrices of floats: register tiles of our own, BLAS, or the blocks of a GPU."""
    multiplies_pairs: bool = False
    """An instruction multiplies pairs of bfloat16 and adds them to float32: `vdpbf16ps`."""

    cores: int = 2
    """Cores of a CPU that share a step: tiles and parts of sums are cut so that there are enough for as many. It fixes
    the order of sums, so it is a number of the plan, not of the machine that the plan is made on. A step runs on any
    number of threads with the same bits.
    """
    workers: int | None = None
    """Blocks that a GPU runs at a time: they share the tiles of a launch. None for a CPU, whose workers are threads."""
    multiprocessors: int | None = None
    """Those of a GPU, over which its blocks are spread."""
    capability: str | None = None
    """The compute capability of a GPU, as compilers name it: "sm_90"."""
    device_bytes: int | None = None
    """The memory of a GPU."""
    shared_bytes: int | None = None
    """Shared memory of a block, at most, where as many run as there are workers."""
    link_bytes_per_ns: float | None = None
    """Between the memories of a GPU and its host, one way, of the whole card."""
    libraries: tuple[str, ...] = ()
    """What of `LIBRARIES` a GPU multiplies and convolves by; without one our own kernels do. Plans with a library and
    without it differ by workspace and by what is fused, so a backend leaves out what is not installed before it plans.
    """
    precision: Literal["fp32", "tf32"] = "fp32"
    """What libraries round float32 factors to before they multiply; sums are float32 in any case."""

    l1_bytes: int = 32 << 10
    """The first cache: a row and its buffers stay there."""
    l2_bytes: int = 1 << 20
    """The cache of a core: tiles stay there."""
    l3_bytes: int = 16 << 20
    """A core's share of the last cache: what is larger comes from memory every time."""
    line_bytes: int = 64
    """A cache line. Whatever has a place in the arena begins at one, so that no two workers write to one line. On a GPU
    what CUDA's own allocations are aligned to, which its libraries expect."""

    matmul_flops_per_ns: float = 90.0
    """Floating-point operations of large products and convolutions."""
    tf32_flops_per_ns: float | None = None
    bf16_flops_per_ns: float | None = None
    """The same by the tensor cores of a GPU, which only libraries use; of bfloat16 also by a CPU that multiplies pairs.
    """
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
    """A unit begins: its kernels are called. On a GPU all workers wait for that, so it is the sum of what they lose."""
    barrier_ns: float = 10_000.0
    """Threads that share a unit wait for the last of them."""
    packed_rows: int = 12
    """To pack the weight of a product takes as long as so many rows more of the product."""
    rank_latency_ns: float = 5_000.0
    """A message from rank to rank takes so long by itself: on one machine, through shared memory."""
    rank_bytes_per_ns: float = 4.0
    """What a rank sends and receives at a time."""

    def __post_init__(self) -> None:
        if self.matmul not in ("registers", "blas", "blocks"):
            raise TargetError(located(f"matmul of a target is 'registers', 'blas' or 'blocks', got {self.matmul!r}"))
        if not set(self.libraries) <= set(LIBRARIES):
            raise TargetError(located(f"libraries of a target are of {', '.join(LIBRARIES)}, got {self.libraries!r}"))
        if self.precision not in ("fp32", "tf32"):
            raise TargetError(located(f"precision of a target is 'fp32' or 'tf32', got {self.precision!r}"))
        for name, value in vars(self).items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and not value > 0:
                raise TargetError(located(f"{name} of a target is above 0, got {value!r}"))
        if self.cores % 1 or self.cores > MOST_CORES:
            raise TargetError(
                located(f"cores of a target is a whole number from 1 to {MOST_CORES}, got {self.cores!r}")
            )
        for name in ("vector_bytes", "line_bytes"):
            value = getattr(self, name)
            if value < 16 or value & (value - 1):
                raise TargetError(located(f"{name} of a target is a power of two of 16 or more, got {value!r}"))
        for name in ("l1_bytes", "l2_bytes", "l3_bytes"):
            if getattr(self, name) < 16:
                raise TargetError(located(f"{name} of a target is 16 or more, got {getattr(self, name)!r}"))

    @staticmethod
    def cpu(name: str | None = None) -> Target:
        """The CPU with these instructions: "avx512", "avx512_bf16", "avx2", "sse", "neon" or "generic"; by
        default that of `GRADLOOM_TARGET`, or this machine's, which is never "avx512_bf16".

        Raises `TargetError` for any other name.
        """
        if name is None:
            name = _host_cpu[-1]()
        if name not in _CPUS:
            raise TargetError(located(f"there is no CPU target {name!r}; there are {', '.join(map(repr, _CPUS))}"))
        return _CPUS[name]

    @staticmethod
    def cuda(name: str = "sm_90", *, emulated: bool = False) -> Target:
        """An NVIDIA GPU: a card, "h100", "h200", "a100", "l4" or "rtx4090", or a compute capability, "sm_80", "sm_89"
        or "sm_90", for which a typical card stands. Where it is `emulated` the CPU does what the GPU would.

        Planning for it needs neither a GPU nor a package. Raises `TargetError` for any other name.
        """
        card = CARDS.get(TYPICAL.get(name, name))
        if card is None:
            near = similar(name, (*TYPICAL, *CARDS))
            there = f"{near + '; ' if near else ''}there are {', '.join(map(repr, (*TYPICAL, *CARDS)))}"
            raise TargetError(located(f"there is no GPU target {name!r}; {there}"))
        return _of_card(name, card, "cuda-emulated" if emulated else "cuda")

    @property
    def is_gpu(self) -> bool:
        """Whether workers are blocks of a GPU: many, each of many threads, without vector registers or caches of
        their own to cut tiles for.
        """
        return self.workers is not None

    def __str__(self) -> str:
        return f"{self.device}:{self.name}"

    def __repr__(self) -> str:
        if _CPUS.get(self.name) == self:
            return f"Target.cpu({self.name!r})"
        if self.name in _CPUS and replace(_CPUS[self.name], cores=self.cores) == self:
            return f"dataclasses.replace(Target.cpu({self.name!r}), cores={self.cores})"
        if self.name in (*CARDS, *TYPICAL):
            for emulated in (False, True):
                if Target.cuda(self.name, emulated=emulated) == self:
                    return f"Target.cuda({self.name!r}{', emulated=True' if emulated else ''})"
        return f"Target({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def flops_per_ns(self, dtype: np.dtype[Any]) -> float:
        """Floating-point operations of large products and convolutions of arrays of this dtype."""
        of_cores = {2: self.bf16_flops_per_ns, 4: self.tf32_flops_per_ns if self.precision == "tf32" else None}
        narrow = self.libraries or self.multiplies_pairs
        return (of_cores.get(dtype.itemsize) if narrow else None) or self.matmul_flops_per_ns

    @property
    def has_many_cores(self) -> bool:
        """Whether there are more cores than a loop has parallel iterations, so that threads share what each iteration
        does, and a last round of tiles for some of them costs much.
        """
        return self.cores > MOST_PARALLEL

    def whole_rounds(self, tiles: int) -> int:
        """`tiles`, or so many more that no core is idle while others do the last of them."""
        return -(-tiles // self.cores) * self.cores if self.has_many_cores else tiles

    def round_to_line(self, nbytes: int) -> int:
        """`nbytes` rounded up to whole lines."""
        return -(-nbytes // self.line_bytes) * self.line_bytes

    @property
    def tile_vectors(self) -> int:
        """The most vectors of a row of a register tile: a row of the right operand takes an eighth of the registers."""
        return max(1, self.vector_registers // 8)

    @property
    def packs(self) -> bool:
        """Whether register tiles of a product read copies of both operands in which what they read lies together.

        A row of a strip of the right operand is then a cache line or two. Where the rows lie far apart, too few of them
        stay in the first cache, and each is on a page of its own.
        """
        return self.matmul == "registers" and self.packed_strips > 1

    @property
    def packed_strips(self) -> int:
        """Strips of a right operand that are packed together: four lines of a row, which come from memory as one."""
        return max(1, 4 * self.line_bytes // (self.tile_vectors * self.vector_bytes))

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
    raise TargetError(located("nothing here tells this machine's CPU; name it, as in Target.cpu('avx2')"))


_host_cpu: list[Callable[[], str]] = [_no_host]

_CPUS = {
    target.name: target
    for target in (
        Target(name="avx512", vector_bytes=64, vector_registers=32, masked=True, matmul="registers"),
        Target(
            name="avx512_bf16",
            vector_bytes=64,
            vector_registers=32,
            masked=True,
            matmul="registers",
            multiplies_pairs=True,
            bf16_flops_per_ns=140.0,  # with the copies of both factors, which are float32 in memory
        ),
        Target(name="avx2", vector_bytes=32, vector_registers=16, masked=False, matmul="registers"),
        Target(name="sse", vector_bytes=16, vector_registers=16, masked=False, matmul="registers"),
        Target(name="neon", vector_bytes=16, vector_registers=32, masked=False, matmul="registers"),
        Target(name="generic", vector_bytes=16, vector_registers=16, masked=False, matmul="blas"),
    )
}

CPU_NAMES = tuple(_CPUS)
"""The names that `Target.cpu` knows."""

DEFAULT_TARGET = _CPUS["avx512"]
"""What passes plan for where nobody says otherwise: the same on every machine."""

_BLOCKS = 4
"""Blocks that a multiprocessor runs at a time: of 256 threads each, they are half of those that it can hold, which is
enough to keep its memory busy."""
_TILE_ELEMENTS = 1024
"""Elements of a tile: four for each thread of a block."""
_LAUNCH_NS = 1_200.0
"""From a launch to the next that waits for it, in one captured graph."""
_MESSAGE_NS = 15_000.0
"""A message of few bytes from GPU to GPU."""
_LANES, _FUNCTION_LANES = 128, 8
"""Elements that a multiprocessor takes in a cycle: of a cheap function, and of one of about 16 instructions."""


def _of_card(name: str, card: Card, device: str) -> Target:
    """The target that a card is. What is of the whole card is shared by its workers."""
    workers = _BLOCKS * card.multiprocessors
    return Target(
        name=name,
        device=device,
        vector_bytes=128,  # what the threads of a warp read together, four bytes each
        vector_registers=64,
        masked=True,
        matmul="blocks",
        workers=workers,
        multiprocessors=card.multiprocessors,
        capability=card.capability,
        device_bytes=card.memory_bytes,
        shared_bytes=card.shared_bytes // _BLOCKS,
        link_bytes_per_ns=card.link_bytes_per_ns,
        l1_bytes=16 * _TILE_ELEMENTS,
        l2_bytes=64 * _TILE_ELEMENTS,
        l3_bytes=card.l2_bytes,
        line_bytes=256,
        matmul_flops_per_ns=card.fp32_flops_per_ns / workers,
        tf32_flops_per_ns=card.tf32_flops_per_ns / workers,
        bf16_flops_per_ns=card.bf16_flops_per_ns / workers,
        libraries=LIBRARIES if device == "cuda" else (),
        # Data sheets are silent on caches. Those who measured an H100's found somewhat less than twice its memory's.
        cache_bytes_per_ns=1.5 * card.memory_bytes_per_ns / workers,
        memory_bytes_per_ns=card.memory_bytes_per_ns / workers,
        element_ns=_BLOCKS / (_LANES * card.gigahertz),
        function_ns=_BLOCKS / (_FUNCTION_LANES * card.gigahertz),
        weight_pack_ns=1e-6,  # nothing is packed
        weight_add_ns=8 * workers / card.memory_bytes_per_ns,
        launch_ns=_LAUNCH_NS * workers,
        barrier_ns=_LAUNCH_NS,
        packed_rows=1,
        # What NCCL's smallest message takes, about; and cards that nothing faster connects than their hosts do.
        rank_latency_ns=_MESSAGE_NS,
        rank_bytes_per_ns=card.link_bytes_per_ns,
    )
