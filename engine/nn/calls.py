"""The calls of a model's modules while a program is traced: which module, in which order, with which arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optree

from ..tracing.tracer import Trace, Tracer, TracingError, current_trace

if TYPE_CHECKING:
    from .module import Module


@dataclass(frozen=True, eq=False)
class ModuleCall:
    """One call of a module. A module that is called several times has several."""

    path: str
    """The module's path in the model, "" for the model itself."""
    module: Module | None
    """`None` for what a module computes by functions, where something looks for such."""
    inputs: tuple[Tracer, ...]
    """The traced arrays among its arguments, positional ones first, as they were before the call."""
    outputs: tuple[Tracer, ...]
    """The traced arrays in what it returned, leaf by leaf."""
    skipped: str = ""
    """Why it has neither, although it may compute with arrays."""
    own: bool = True
    """Whether it computes with the model's own values, and not with others that a `functional_call` has given."""


class CallRecorder:
    """Writes down the calls of modules in one program, each when it returns: a layer comes before what it is part of.

    Arrays in a program inside, such as the body of a loop, are not of this program: such a call is `skipped`, and says
    why. A call inside `gl.checkpoint` is written down once.
    """

    def __init__(self, trace: Trace, around: CallRecorder | None = None, base: str = "") -> None:
        self.trace = trace
        self.calls: list[ModuleCall] = [] if around is None else around.calls
        self._own = around is None
        self._base = base

    def within(self, base: str) -> CallRecorder:
        """What writes down, here too, the calls of the module at `base` with other values."""
        return CallRecorder(self.trace, self, self._path(base))

    def _path(self, path: str) -> str:
        return f"{self._base}.{path}" if self._base and path else self._base or path

    def arrays(self, tree: Any) -> tuple[Tracer, ...]:
        """The traced arrays of a pytree, as they are now; those that can no longer be read are left out."""
        found: list[Tracer] = []
        for leaf in optree.tree_leaves(tree):
            if isinstance(leaf, Tracer) and leaf.owner is self.trace:
                try:
                    found.append(Tracer(self.trace, leaf.value))
                except TracingError:
                    continue
        return tuple(found)

    def add(self, path: str, module: Module, inputs: tuple[Tracer, ...], result: Any) -> None:
        """Write down that `module` made `result` of `inputs`."""
        path = self._path(path)
        if current_trace() is not self.trace:
            why = "it was called in a program inside, as the body of a loop is, whose arrays there are only in it"
            self.calls.append(ModuleCall(path, module, (), (), why, self._own))
            return
        self.calls.append(ModuleCall(path, module, inputs, self.arrays(result), own=self._own))
