"""A module of torch as it was exported: its graph, what its inputs and outputs are, and which shapes it takes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ...ir import DType
from .dtypes import numpy_array, numpy_dtype
from .interpreter import check_ops
from .torch_package import torch_package


@dataclass(frozen=True)
class Input:
    """What a placeholder of the graph stands for: what is stored under a name, a constant, or a leaf of a call."""

    kind: str
    name: str = ""
    value: Any = None


@dataclass(frozen=True)
class Output:
    """What a result of the graph is: a leaf of what the module returns, or the new content of a buffer by its name."""

    buffer: str = ""


class Program:
    """An exported program, read once: what it takes to trace it. Raises where an op, beside `ops` of the user's, or a
    dtype is not supported.
    """

    def __init__(self, exported: Any, default_float: Any, ops: Collection[str] = ()) -> None:
        self.module = exported.graph_module
        check_ops(self.module, ops)
        self.default_float: DType = numpy_dtype(default_float)
        self.inputs = [_input(exported, spec) for spec in exported.graph_signature.input_specs]
        self.outputs = [_output(spec) for spec in exported.graph_signature.output_specs]
        self.tree = exported.call_spec.out_spec
        placeholders = [node for node in self.module.graph.nodes if node.op == "placeholder"]
        leaves = [node for node, given in zip(placeholders, self.inputs) if given.kind == "leaf"]
        self._lengths = [_lengths(node.meta.get("val")) for node in leaves]
        self._ranges = dict(exported.range_constraints)

    def accepts(self, leaves: Sequence[Any]) -> bool:
        """Whether the program is right for leaves of these shapes."""
        known: dict[Any, int] = {}
        for leaf, lengths in zip(leaves, self._lengths):
            if lengths is None:
                continue
            shape = tuple(getattr(leaf, "shape", ()))
            if len(shape) != len(lengths) or not all(self._fits(n, wanted, known) for n, wanted in zip(shape, lengths)):
                return False
        return True

    def _fits(self, length: int, wanted: Any, known: dict[Any, int]) -> bool:
        if isinstance(wanted, int):
            return length == wanted
        if wanted.is_Symbol:
            allowed = self._ranges.get(wanted)
            inside = allowed is None or (allowed.lower <= length and length <= allowed.upper)
            return bool(inside) and known.setdefault(wanted, length) == length
        value = wanted.subs(known)
        return bool(value.is_number) and int(value) == length


def _lengths(value: Any) -> list[Any] | None:
    """The lengths of a tensor's axes, each an int or an expression of symbols; `None` for what is no tensor."""
    if not hasattr(value, "shape"):
        return None
    return [n if isinstance(n, int) else n.node.expr for n in value.shape]


def _input(exported: Any, spec: Any) -> Input:
    kind = spec.kind.name
    if kind in ("PARAMETER", "BUFFER"):
        return Input("stored", spec.target)
    if kind == "CONSTANT_TENSOR":
        return Input("constant", spec.target, numpy_array(exported.constants[spec.target]))
    if kind == "USER_INPUT":
        return Input("leaf")
    if kind == "TOKEN":
        return Input("constant")
    return Input("other", spec.target)


def _output(spec: Any) -> Output | None:
    kind = spec.kind.name
    if kind in ("BUFFER_MUTATION", "PARAMETER_MUTATION"):
        return Output(spec.target)
    return Output() if kind in ("USER_OUTPUT", "LOSS_OUTPUT") else None


def flattened(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[list[Any], Any]:
    """The leaves of a call's arguments, as torch sees them, and their structure."""
    return torch_package().utils._pytree.tree_flatten((tuple(args), kwargs))
