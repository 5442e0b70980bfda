"""The backend of CPUs: plans become kernels of LLVM's, which one native call runs on a pool of threads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ...ir import Array, ArrayType
from ...ir.users_line import located
from ...passes.memory.plan import Plan
from ...passes.target import Target, TargetError
from ..codegen.host import host_cpu, runnable
from .executable import Executable, allocate, hold
from .host import chosen_cpu


class CpuBackend:
    """What `Backend` asks for, on this machine's CPU; its memory is NumPy's."""

    undone = 0
    of_device = None

    def check(self, target: Target, ranks: Any = None) -> None:
        """Raise `TargetError` unless this machine has the instructions of a target."""
        if target.name not in runnable():
            targets = ", ".join(f"gl.Target.cpu({name!r})" for name in runnable())
            own = "write target='cpu' for its own"
            if chosen_cpu() == target.name:
                own = f"GRADLOOM_TARGET={target.name} says so: leave that out for its own"
            raise TargetError(
                located(
                    f"this machine, {host_cpu()!r}, cannot run what is compiled for {str(target)!r}: it runs "
                    f"{targets}; {own}, or write gl.plan_step to plan for another machine"
                )
            )

    def narrowed(self, target: Target) -> Target:
        """The target itself."""
        return target

    def allocate(self, nbytes: int) -> Array:
        """`nbytes` of memory that begins at a cache line."""
        return allocate(nbytes)

    def hold(self, types: Sequence[ArrayType], on_host: Collection[int] = ()) -> list[Array]:
        """NumPy's arrays, each beginning at a cache line."""
        return hold(types)

    def check_room(self, nbytes: int) -> None:
        """Nothing: what this machine's memory is used for is not known."""

    def build(self, plan: Plan, arena: Array | None = None, ranks: Any = None) -> Executable:
        """A plan with machine code, which works in `arena`, or in memory of its own."""
        return Executable(plan, arena, ranks)
