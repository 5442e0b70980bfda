"""An ONNX model as plain Python: bodies of nodes, with attributes that are numbers, text, arrays and bodies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....ir import Array, DType
from ...tracing.errors import located
from ..dtypes import dtype_of
from ..errors import OnnxError
from .tensors import array_of

FunctionKey = tuple[str, str, str]
"""Domain, name and overload."""


@dataclass(frozen=True)
class Reference:
    """An attribute that is the one of this name of the function around."""

    name: str


@dataclass(frozen=True)
class Declared:
    """An input or output as a graph declares it. Lengths are numbers, names, or `None` where nothing is said."""

    name: str
    dtype: DType | None
    shape: tuple[int | str | None, ...] | None

    def __str__(self) -> str:
        lengths = "..." if self.shape is None else ", ".join("?" if n is None else str(n) for n in self.shape)
        return f"{self.dtype or '?'}[{lengths}]"


@dataclass(frozen=True, eq=False)
class OnnxNode:
    """One node. An input or output that is left out has the name ""."""

    operator: str
    domain: str
    overload: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    text: bytes
    """The node as it stands in the file, unless a tensor is part of it."""

    @property
    def label(self) -> str:
        """What messages call it."""
        domain = f"{self.domain}." if self.domain else ""
        named = self.name or next((name for name in self.outputs if name), "")
        return f"ONNX node {named!r} ({domain}{self.operator})"

    @property
    def bodies(self) -> list[Body]:
        """The graphs among the attributes."""
        return [value for value in self.attributes.values() if isinstance(value, Body)]


@dataclass(frozen=True, eq=False)
class Body:
    """A graph: of the model, of a branch, or of an iteration."""

    name: str
    nodes: tuple[OnnxNode, ...]
    inputs: tuple[Declared, ...]
    outputs: tuple[Declared, ...]
    initializers: dict[str, Array]


@dataclass(frozen=True, eq=False)
class Function:
    """A function that a model defines, or that ONNX defines an operator by."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[OnnxNode, ...]
    opsets: Mapping[str, int]
    attributes: Mapping[str, Any]
    """Of the attributes, those that have a default."""


@dataclass(frozen=True, eq=False)
class Program:
    """A model: its graph, its own functions, the opsets of both, and where it was read."""

    body: Body
    opsets: Mapping[str, int]
    functions: Mapping[FunctionKey, Function] = field(default_factory=dict)


def program_of(model: Any, folder: Path | None) -> Program:
    """A `ModelProto` as plain Python. Raises `OnnxError` for what is damaged or not supported."""
    functions = {(_domain(f.domain), f.name, f.overload): function_of(f, folder) for f in model.functions}
    return Program(_body(model.graph, folder), _opsets(model.opset_import), functions)


def function_of(proto: Any, folder: Path | None = None) -> Function:
    """A `FunctionProto` as plain Python."""
    return Function(
        tuple(proto.input),
        tuple(proto.output),
        tuple(_node(node, folder) for node in proto.node),
        _opsets(proto.opset_import),
        {attribute.name: _attribute(attribute, folder, proto.name) for attribute in proto.attribute_proto},
    )


def nodes_of(nodes: Sequence[OnnxNode]) -> Iterator[OnnxNode]:
    """All nodes, those of bodies among the attributes too."""
    for node in nodes:
        yield node
        for body in node.bodies:
            yield from nodes_of(body.nodes)


def _opsets(imports: Any) -> dict[str, int]:
    return {_domain(each.domain): each.version for each in imports}


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _body(graph: Any, folder: Path | None) -> Body:
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise OnnxError(located(f"tensor {name!r} is sparse, which is not supported; make it dense first"))
    return Body(
        graph.name,
        tuple(_node(node, folder) for node in graph.node),
        tuple(_declared(each) for each in graph.input),
        tuple(_declared(each) for each in graph.output),
        {tensor.name: array_of(tensor, folder) for tensor in graph.initializer},
    )


def _declared(info: Any) -> Declared:
    kind = info.type.WhichOneof("value")
    if kind not in (None, "tensor_type"):
        what = kind.removesuffix("_type").replace("_", " ")
        raise OnnxError(located(f"{info.name!r} is a {what}, which is not supported; inputs and outputs are tensors"))
    tensor = info.type.tensor_type
    dtype = dtype_of(tensor.elem_type, f"{info.name!r}") if kind and tensor.elem_type else None
    if kind is None or not tensor.HasField("shape"):
        return Declared(info.name, dtype, None)
    return Declared(info.name, dtype, tuple(_length(each) for each in tensor.shape.dim))


def _length(dim: Any) -> int | str | None:
    which = dim.WhichOneof("value")
    return None if which is None else dim.dim_value if which == "dim_value" else dim.dim_param or None


def _node(node: Any, folder: Path | None) -> OnnxNode:
    what = f"ONNX node {node.name or (node.output[0] if node.output else '')!r} ({node.op_type})"
    return OnnxNode(
        node.op_type,
        _domain(node.domain),
        node.overload,
        node.name,
        tuple(node.input),
        tuple(node.output),
        {attribute.name: _attribute(attribute, folder, what) for attribute in node.attribute},
        b"" if any(attribute.HasField("t") for attribute in node.attribute) else node.SerializeToString(),
    )


def _attribute(attribute: Any, folder: Path | None, what: str) -> Any:
    """The value of an `AttributeProto`; what a string holds is text."""
    if attribute.ref_attr_name:
        return Reference(attribute.ref_attr_name)
    kind = type(attribute).AttributeType.Name(attribute.type)
    if kind == "TENSOR":
        return array_of(attribute.t, folder, f"attribute {attribute.name} of {what}")
    if kind == "GRAPH":
        return _body(attribute.g, folder)
    if kind in ("FLOAT", "INT"):
        return attribute.f if kind == "FLOAT" else attribute.i
    if kind in ("FLOATS", "INTS"):
        return tuple(attribute.floats if kind == "FLOATS" else attribute.ints)
    if kind == "STRING":
        return attribute.s.decode("utf-8", "replace")
    if kind == "STRINGS":
        return tuple(each.decode("utf-8", "replace") for each in attribute.strings)
    kind = kind.lower().replace("_", " ")
    raise OnnxError(located(f"{what}: attribute {attribute.name} is a {kind}, which is not supported"))
