"""What a target must offer to run. The engine asks for nothing else, so that a target is added without touching it.

Plans and lowerings are shared: a backend gets a `Plan`, of which `lower` (see `lowering/launch_list.py`) makes launches
that name no machine. `cpu/`, `cuda/` and `emulate/` have the backends that there are; `docs/add_a_target.md` says what
another needs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol

from ..ir import Array, ArrayType, Node
from ..ir.users_line import located
from ..passes.memory.plan import Plan
from ..passes.target import Target, TargetError
from .codegen.kernel_cache import Kernel
from .cpu.backend import CpuBackend
from .cuda.backend import CudaBackend
from .emulate.backend import EmulatedBackend

Memory = Any
"""Bytes that programs work in: for the CPU an array of NumPy. Only the backend that allocated it looks inside."""


LiveArray = Any
"""An array in the memory of a device that outlives runs, or a view of what a run left there. To the host it is like
NumPy's: `array[...] = value` writes it, `array.copy()` and `np.asarray(array)` read it. On a CPU it is NumPy's own.
"""


class Program(Protocol):
    """A plan that is ready to run: machine code, tables, and the memory that it works in.

    Values of the graph are numbered as its inputs and outputs are. Arrays that are bound, or given for one run, are
    C-contiguous and exactly of the type of the graph's input or output; what is bound must live until it is bound
    anew. An output that overwrites an input is found there.
    """

    @property
    def plan(self) -> Plan:
        """What it runs."""
        ...

    @property
    def kernels(self) -> Sequence[Kernel]:
        """What it is made of."""
        ...

    @property
    def kernel_users(self) -> Sequence[Sequence[Node]]:
        """The units that each kernel runs."""
        ...

    @property
    def kernel_seconds(self) -> float:
        """What it took to compile the kernels, or to read them."""
        ...

    @property
    def arena_bytes(self) -> int:
        """What the plan needs of the arena."""
        ...

    def use_arena(self, arena: Memory) -> None:
        """Work in `arena` from now on: at least `arena_bytes`, as `Backend.allocate` gives it. Programs that never run
        at the same time may share one.
        """
        ...

    def bind_input(self, i: int, array: LiveArray) -> None:
        """Let input `i` of the graph be read (and, if aliased, overwritten) in `array`: one of the device, or of NumPy,
        whose content a run takes as it is then.
        """
        ...

    def bind_output(self, i: int, array: Array) -> None:
        """Let output `i` of the graph be written to `array`."""
        ...

    def output_in_arena(self, i: int) -> LiveArray:
        """A view of output `i`, of a plan made with `outputs_in_arena`; the next run overwrites it. `view[()]` of a
        number and `view.copy()` stay; where runs are not waited for, their readers wait.
        """
        ...

    def run(self, inputs: Sequence[Array] = (), outputs: Sequence[Array] = (), first_input: int = 0) -> None:
        """Run once, with `inputs`, from number `first_input` of the graph on, and `outputs` for this run alone.

        Raises `IndexError` where an index is out of range and `ValueError` where an integer is raised to a negative
        power; inputs are then as they were before. A backend may return before it has run: then who reads what it
        wrote waits, and raises that.
        """
        ...


class Backend(Protocol):
    """What runs the plans of one kind of device."""

    @property
    def undone(self) -> int:
        """How many runs were not done, though `Program.run` returned: because of a trap in one, or in one before."""
        ...

    @property
    def of_device(self) -> Callable[[Any], LiveArray | None] | None:
        """Gives an array that runs read without the host, where another library has it on the device, and None for
        anything else. It raises `TypeError` for one that they cannot read there. None where the host is the device.
        """
        ...

    def check(self, target: Target, ranks: Any = None) -> None:
        """Raise `TargetError`, with what to write instead, where this machine cannot run what is made for `target`, or
        several `ranks` cannot do so together; they call this together then, and all raise it.
        """
        ...

    def narrowed(self, target: Target) -> Target:
        """A target that passed `check`, without what this machine has not got of it: what to plan for."""
        ...

    def allocate(self, nbytes: int) -> Memory:
        """Memory for an arena: exactly `nbytes`, beginning at a cache line of the target; its content is anything."""
        ...

    def hold(self, types: Sequence[ArrayType], on_host: Collection[int] = ()) -> Sequence[LiveArray]:
        """Arrays that programs read and overwrite, each beginning at a cache line; their content is anything. Those of
        the numbers `on_host` lie in memory of the host, as a plan's transfers expect it.
        """
        ...

    def check_room(self, nbytes: int) -> None:
        """Raise `TargetError` where the memory of the device has not so many bytes free, if that is known."""
        ...

    def build(self, plan: Plan, arena: Memory | None = None, ranks: Any = None) -> Program:
        """Machine code for a plan that passed `check`, to work in `arena`, or in memory of its own. `ranks` are those
        of a plan with collectives: they have `rank`, `size`, `timeout`, and mpi4py's `communicator`, or None of one.
        """
        ...


_BACKENDS: dict[str, Backend] = {"cpu": CpuBackend(), "cuda": CudaBackend(), "cuda-emulated": EmulatedBackend()}
"""By the `device` of a target."""


@contextlib.contextmanager
def backend_replaced(device: str, backend: Backend) -> Iterator[None]:
    """Another backend for what is compiled inside the block for a device: one with a fake driver, in tests."""
    before = _BACKENDS[device]
    _BACKENDS[device] = backend
    try:
        yield
    finally:
        _BACKENDS[device] = before


def backend_of(target: Target, ranks: Any = None) -> Backend:
    """The backend that runs what is made for a target, of several `ranks` on all of them together.

    Raises `TargetError` where there is none, or where this machine cannot run it.
    """
    backend = _BACKENDS.get(target.device)
    if backend is None:
        known = ", ".join(_BACKENDS)
        raise TargetError(located(f"nothing here runs {str(target)!r}; there are backends for {known}"))
    backend.check(target, ranks)
    return backend
