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


class CallRecorder:
    """Writes down the calls of modules in one program, each when it returns: a layer comes before what it is part of.

    Arrays in the body of a loop are not of this program: such a call is `skipped`, and says why. A call inside
    `gl.checkpoint` is written down once. Calls by a `functional_call` inside compute with other values than the
    model's own, and are not written down.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.calls: list[ModuleCall] = []

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
        if current_trace() is not self.trace:
            why = "it was called in the body of a loop, whose arrays there are only inside"
            self.calls.append(ModuleCall(path, module, (), (), why))
            return
        self.calls.append(ModuleCall(path, module, inputs, self.arrays(result)))
