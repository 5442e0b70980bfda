"""Operators that ONNX itself defines by other operators: their definitions, for the types of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...tracing.errors import located
from ..dtypes import number_of
from ..errors import OnnxError
from .program import Function, OnnxNode, function_of


def has_schema_function(node: OnnxNode, version: int) -> bool:
    """Whether ONNX defines the operator of a node by others."""
    schema = _schema(node, version)
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


def plain_schema_function(node: OnnxNode, version: int) -> Function | None:
    """The definition of the operator of a node, where it is the same for all types."""
    schema = _schema(node, version)
    if schema is None or not schema.has_function:
        return None
    return _parsed(schema.get_function_with_opset_version(version), schema)


def schema_function(node: OnnxNode, version: int, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Function:
    """The definition of the operator of a node, for arrays like `inputs`. Raises `OnnxError` where there is none.

    `attributes` has the values of those that refer to the function around.
    """
    schema = _schema(node, version)
    if schema is None:
        raise OnnxError(located(f"{node.label}: opset {version} has no such operator"))
    if schema.has_function:
        return _parsed(schema.get_function_with_opset_version(version), schema)
    if not schema.has_context_dependent_function:
        raise OnnxError(located(f"{node.label}: the operator is not supported"))
    types = [_type(each).SerializeToString() for each in inputs]
    text = schema.get_context_dependent_function_with_opset_version(version, _resolved(node, attributes), types)
    if not text:
        raise OnnxError(located(f"{node.label}: ONNX defines no such operator for these inputs"))
    return _parsed(text, schema)


def _resolved(node: OnnxNode, attributes: Mapping[str, Any]) -> bytes:
    """The node with values in place of references to attributes of the function around."""
    import onnx.helper  # pyright: ignore[reportMissingImports]

    proto = onnx.NodeProto.FromString(node.text)  # pyright: ignore[reportAttributeAccessIssue]
    kept = [a for a in proto.attribute if not a.ref_attr_name]
    given = [a.name for a in proto.attribute if a.ref_attr_name and a.name in attributes]
    del proto.attribute[:]
    proto.attribute.extend([*kept, *(onnx.helper.make_attribute(name, attributes[name]) for name in given)])
    return proto.SerializeToString()


def _parsed(text: bytes, schema: Any) -> Function:
    """A definition whose attributes have the defaults of the operator."""
    import onnx  # pyright: ignore[reportMissingImports]

    proto = onnx.FunctionProto.FromString(text)  # pyright: ignore[reportAttributeAccessIssue]
    proto.attribute_proto.extend(a.default_value for a in schema.attributes.values() if a.default_value.type)
    return function_of(proto)


def _schema(node: OnnxNode, version: int) -> Any:
    import onnx.defs  # pyright: ignore[reportMissingImports]

    try:
        return onnx.defs.get_schema(node.operator, version, node.domain)
    except onnx.defs.SchemaError:
        return None


def _type(array: Any) -> Any:
    import onnx.helper  # pyright: ignore[reportMissingImports]

    if array is None:
        return onnx.TypeProto()  # pyright: ignore[reportAttributeAccessIssue]
    return onnx.helper.make_tensor_type_proto(number_of(array.dtype), array.shape)
