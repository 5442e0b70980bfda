"""`export_onnx`: a function of a model as an ONNX file, with the values that it has now."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optree

from ...ir import Array, ArrayType, Graph
from ...passes.pipeline import passed
from ...passes.simplify.simplify import Simplify
from ..nn import Module
from ..onnx.errors import OnnxError, missing_package
from ..onnx.writing.symbolic_graph import SymbolicGraph, merged
from ..tracing.trace import input_name
from ..tracing.tracer import located
from .leaves import flattened, leaf_type
from .predict_graph import PredictGraph, trace_predict

if TYPE_CHECKING:
    from .loaded import Loaded
    from .step import Step


def export_onnx(
    owner: Step | Loaded, path: str | os.PathLike[str], fn: Callable[..., Any], args: Sequence[Any]
) -> None:
    """Write `fn(model, *args)` as an ONNX file, see `Step.export_onnx`."""
    if not callable(fn) or isinstance(fn, Module):
        what = f"export_onnx takes a path, a function of the model and its arguments, got {type(fn).__name__}"
        raise TypeError(located(f"{what}; write step.export_onnx(path, lambda model, x: model(x), x)"))
    try:
        import onnx as onnx  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise missing_package(error, "export_onnx") from None
    from ..onnx.writing.model import write_model

    exported = _Exported(owner, fn, args)
    types = {name: p.dtype for name, p in owner._model.stored_parameters()}
    parameters = {name: array.astype(types[name], copy=False) for name, array in owner.parameters().items()}
    stored = {**parameters, **owner.buffers()}
    inputs, outputs = [None, *exported.input_names(stored)], exported.output_names(stored)
    graph = exported.for_any_batch()
    if graph is not None:
        try:
            return write_model(path, graph, stored, inputs, outputs)
        except OnnxError:
            pass  # what cannot be written for any batch may be for one
    return write_model(path, exported.for_this_batch(), stored, inputs, outputs)


class _Exported:
    """A function of a model, traced for the batch of its arguments, and for others where it can be."""

    def __init__(self, owner: Step | Loaded, fn: Callable[..., Any], args: Sequence[Any]) -> None:
        self.owner, self.fn = owner, fn
        names, leaves, self.tree = flattened(tuple(args), "argument")
        self.leaves = [leaf if type(leaf) is float else leaf_type(name, leaf) for name, leaf in zip(names, leaves)]
        shapes = [leaf.shape for leaf in self.leaves if isinstance(leaf, ArrayType) and leaf.shape]
        self.size = shapes[0][0] if shapes else 0
        self.traced = self._traced(self.leaves)
        self._check()

    def _traced(self, leaves: Sequence[Any]) -> PredictGraph:
        args: Any = optree.tree_unflatten(self.tree, leaves)
        owner = self.owner
        return trace_predict(owner._model, self.fn, args, owner._warned)

    def _check(self) -> None:
        """Raise `OnnxError` for what a file of a function has no place for."""
        traced = self.traced
        if not traced.result_tree.num_leaves:
            raise TypeError(located("the function returns no array, and a file without an output computes nothing"))
        if traced.graph.aliases:
            names = ", ".join(traced.graph.inputs[i].name for i in traced.graph.aliases.values())
            raise OnnxError(
                located(f"the function assigns {names}, and ONNX has no state; return the new values as results")
            )
        if traced.prints:
            raise OnnxError(located("the function calls gl.debug.print, and ONNX prints nothing; leave it out"))

    def for_this_batch(self) -> SymbolicGraph:
        """The function for the shapes of its arguments."""
        return merged([_simplified(self.traced.graph)], [self.size])

    def for_any_batch(self) -> SymbolicGraph | None:
        """The function for a first length of any size, where it is the same program for several: that length of the
        first argument, and of all that have as many entries.
        """
        if not self.size:
            return None
        # A length of 1 is another program: arrays are repeated along it.
        first = max(self.size, 2)
        sizes = [first, first + 1, first + 3]
        try:
            return merged([_simplified(self._of_size(size).graph) for size in sizes], sizes)
        except Exception:  # of ours, or of the user's function, which may be for this batch alone
            return None

    def _of_size(self, size: int) -> PredictGraph:
        if size == self.size:
            return self.traced
        return self._traced([self._resized(leaf, size) for leaf in self.leaves])

    def _resized(self, leaf: Any, size: int) -> Any:
        if not isinstance(leaf, ArrayType) or leaf.shape[:1] != (self.size,):
            return leaf
        return ArrayType((size, *leaf.shape[1:]), leaf.dtype)

    def input_names(self, stored: Mapping[str, Array]) -> list[str]:
        """Names of the inputs: the parameters of the function, and the paths inside."""
        taken = set(stored)
        return [_fresh(input_name(self.fn, (0, path[0] + 1, *path[1:])), taken) for path in self.tree.paths()]

    def output_names(self, stored: Mapping[str, Array]) -> list[str]:
        """Names of the outputs: `output`, with numbers where there are several, or the keys of what is returned."""
        taken = {*stored, *self.input_names(stored)}
        count = self.traced.result_tree.num_leaves
        names = self.traced.graph.output_names[:count]
        return [_fresh(_output_name(name), taken) for name in names]


def _output_name(path: str) -> str:
    return "output" if not path else f"output_{path}" if path[0].isdigit() else path


def _simplified(graph: Graph) -> Graph:
    return passed(graph, [Simplify()])


def _fresh(name: str, taken: set[str]) -> str:
    found, count = name, 1
    while found in taken:
        count += 1
        found = f"{name}_{count}"
    taken.add(found)
    return found
