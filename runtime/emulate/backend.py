"""The backend of emulated GPUs: what a GPU would compute, on this CPU; `mode.py` says what is checked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from ...ir import Array, ArrayType
from ...passes.memory.plan import Plan
from ...passes.target import Target
from ..cpu.executable import allocate, hold
from .host import check_host
from .mode import is_checked

if TYPE_CHECKING:
    from .program import EmulatedProgram


class EmulatedBackend:
    """What `Backend` of `runtime/backend.py` asks for; its memory is NumPy's."""

    undone = 0
    of_device = None

    def check(self, target: Target, ranks: Any = None) -> None:
        """Raise `TargetError` where threads cannot be fibers, or `GRADLOOM_EMULATOR` names no mode."""
        check_host()
        is_checked()

    def narrowed(self, target: Target) -> Target:
        """The target itself."""
        return target

    def allocate(self, nbytes: int) -> Array:
        """`nbytes` of memory that begins at a cache line of this CPU, which is what runs."""
        return allocate(nbytes)

    def hold(self, types: Sequence[ArrayType], on_host: Collection[int] = ()) -> list[Array]:
        """NumPy's arrays, each beginning at a cache line."""
        return hold(types)

    def check_room(self, nbytes: int) -> None:
        """Nothing: what this machine's memory is used for is not known."""

    def build(self, plan: Plan, arena: Array | None = None, ranks: Any = None) -> EmulatedProgram:
        """A plan with machine code, which works in `arena`, or in memory of its own."""
        from .program import EmulatedProgram  # with the front end, which those that only have a CPU need not wait for

        return EmulatedProgram(plan, allocate(plan.arena_bytes) if arena is None else arena, is_checked(), ranks)
