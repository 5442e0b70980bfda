"""The backend of NVIDIA GPUs: plans become kernels and CUDA graphs, live arrays stay in the memory of the device."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...ir import ArrayType
from ...ir.users_line import located
from ...passes.memory.plan import Plan
from ...passes.target import Target, TargetError
from ..codegen.fork_lock import fork_lock
from .presence import missing, missing_devices

if TYPE_CHECKING:
    from .device import DeviceMemory
    from .device_array import DeviceArray
    from .foreign import ForeignArray
    from .gpu import Gpu
    from .libraries import Libraries
    from .messages import Messages
    from .modules import Compile
    from .program import CudaProgram


class CudaBackend:
    """What `Backend` of `runtime/backend.py` asks for. Nothing of CUDA is imported before something is to run.

    Where tests have no GPU, `driver` stands for `cuda.bindings.driver`, `compile` for the compiler of kernels,
    `libraries` for what is installed, and `nccl` for NCCL's bindings.
    """

    def __init__(
        self,
        driver: Any = None,
        compile: Compile | None = None,
        libraries: Libraries | None = None,
        nccl: Any = None,
    ) -> None:
        self._driver, self._compile, self._libraries, self._nccl = driver, compile, libraries, nccl
        self._lock = fork_lock()
        self._opened: Gpu | None = None
        self._messages: dict[Any, Messages] = {}

    @property
    def gpu(self) -> Gpu:
        """The GPU that a target passed `check` for, for who measures it."""
        assert self._opened is not None, "check comes first"
        return self._opened

    @property
    def undone(self) -> int:
        """How many runs that returned were not done."""
        return 0 if self._opened is None else self._opened.runs.undone

    def check(self, target: Target, ranks: Any = None) -> None:
        """Raise `TargetError` that names what is missing to run what is made for a target, and the way to get it."""
        with self._lock:
            if ranks is None or ranks.size == 1 or ranks in self._messages:
                self._checked(target)
            else:
                from .messages import join_ranks

                self._messages[ranks] = join_ranks(ranks, lambda number: self._checked(target, number), self._nccl)

    def _checked(self, target: Target, number: int = 0) -> Gpu:
        """The GPU of this process, which takes the one of this number where it has none yet."""
        if self._opened is None:
            self._opened = self._open(target, number)
        device = self._opened.device
        if device.capability != target.capability:
            raise TargetError(
                located(
                    f"this process works with a GPU of {device.capability}, which cannot run what is made for "
                    f"{str(target)!r}; write target='cuda:{device.capability}', or begin another process"
                )
            )
        device.enter()
        return self._opened

    def narrowed(self, target: Target) -> Target:
        """A target with those of its libraries that are installed; kernels of our own do what the others would."""
        there = self.gpu.libraries.names
        return replace(target, libraries=tuple(name for name in target.libraries if name in there))

    def _open(self, target: Target, number: int) -> Gpu:
        lacks = missing(target) if self._driver is None else missing_devices(target, self._driver)
        if lacks:
            raise TargetError(
                located(
                    f"this machine cannot run {str(target)!r}: it has {'; '.join(lacks)}. Write target='cpu', or "
                    "'cuda-emulated' for the same kernels on this CPU, slowly, or gl.plan_step(..., "
                    f"target={str(target)!r}) to plan it and its memory"
                )
            )
        # With the front end, and with the packages, for which those who only have a CPU need not wait.
        from .gpu import open_gpu

        return open_gpu(target, self._driver, self._compile, self._libraries, number)

    def allocate(self, nbytes: int) -> DeviceMemory:
        """`nbytes` of the device's memory, in one allocation."""
        return self.gpu.device.allocate(nbytes)

    def hold(self, types: Sequence[ArrayType], on_host: Collection[int] = ()) -> Sequence[DeviceArray]:
        """Arrays in the device's memory, in one allocation, each beginning at a line, but for those that are to lie in
        pinned memory of the host.
        """
        return self.gpu.hold(types, on_host)

    def of_device(self, given: Any) -> DeviceArray | ForeignArray | None:
        """`given` as an array of the device, where it is one of ours or of another library, else None.

        Raises `TypeError` where it is not C-contiguous, or on another GPU.
        """
        from .foreign import of_device

        return of_device(self.gpu.device, given)

    def check_room(self, nbytes: int) -> None:
        """Raise `TargetError` where so many bytes of the device's memory are not free."""
        self.gpu.device.check_room(nbytes, "a step")

    def build(self, plan: Plan, arena: DeviceMemory | None = None, ranks: Any = None) -> CudaProgram:
        """A plan with machine code, which works in `arena`, or in memory of its own."""
        from .program import CudaProgram

        messages = self._messages.get(ranks) if ranks is not None else None
        return CudaProgram(self.gpu, plan, self.allocate(plan.arena_bytes) if arena is None else arena, messages)
