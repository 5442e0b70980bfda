"""Graphs as text; `parse` reads it back."""

from __future__ import annotations

import base64
import math
import re
import zlib
from typing import Any, cast

import numpy as np

from .graph import NOWHERE, Graph, Node, Origin, Value
from .printable import printable
from .types import SHORT_NAMES, Array, ArrayType, DType

BARE_NAME = re.compile(r"[\w.\-\[\]'/]*[\w\]']")
"""Names that are printed without quotes."""


def name_values(graph: Graph) -> dict[Value, str]:
    """A unique printed name for every value: inputs keep their own (quoted where odd), the rest are numbered."""
    names: dict[Value, str] = {}
    taken: set[str] = set()
    for i, value in enumerate(graph.inputs):
        name = value.name or f"in{i}"
        while name in taken or name.isdigit():
            name = f"{name}_{i}"
        taken.add(name)
        names[value] = f"%{name if BARE_NAME.fullmatch(name) else quote(name)}"
    count = 0
    for node in graph.nodes:
        for value in node.outputs:
            names[value] = f"%{count}"
            count += 1
    return names


def print_graph(graph: Graph, indent: str = "") -> str:
    """The whole graph as text."""
    names = name_values(graph)
    inputs = ", ".join(f"{names[v]}: {v.type}" for v in graph.inputs)
    lines = [f"{indent}graph({inputs}) {{"]
    lines += [print_node(node, names, indent + "  ") for node in graph.nodes]
    results: list[str] = []
    for i, value in enumerate(graph.outputs):
        text = names[value]
        if graph.output_names[i]:
            text = f"{quote(graph.output_names[i])}={text}"
        if i in graph.aliases:
            text += f" -> {names[graph.inputs[graph.aliases[i]]]}"
        results.append(text)
    lines.append(f"{indent}  return {', '.join(results)}".rstrip())
    lines.append(f"{indent}}}")
    return "\n".join(lines)


def print_node(node: Node, names: dict[Value, str], indent: str = "") -> str:
    """One node as a line of text (several where it has a body)."""
    outputs = ", ".join(f"{names[v]}: {v.type}" for v in node.outputs)
    inputs = ", ".join(names[v] for v in node.inputs)
    text = f"{indent}{outputs} = {node.op.name}({inputs})"
    if node.attrs:
        items = ", ".join(f"{key}={print_attr(value, indent)}" for key, value in node.attrs.items())
        text += f" {{{items}}}"
    return text + _print_origin(node.origin)


def print_attr(value: Any, indent: str = "") -> str:
    """One attribute value."""
    if value is None or isinstance(value, (bool, int)):
        return str(value)
    if isinstance(value, float):
        return _print_float(value)
    if isinstance(value, complex):
        return f"complex ({_print_float(value.real)}, {_print_float(value.imag)})"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, ArrayType):
        return str(value)
    if isinstance(value, np.dtype):
        return SHORT_NAMES[cast(DType, value)]
    if isinstance(value, Graph):
        return print_graph(value, indent + "  ").lstrip()
    if isinstance(value, np.ndarray):
        return _print_array(cast(Array, value))
    if isinstance(value, tuple):
        items = [print_attr(item, indent) for item in cast("tuple[Any, ...]", value)]
        return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
    raise TypeError(f"an attribute of type {type(value).__name__} cannot be printed: {value!r}")


def _print_float(value: float) -> str:
    return (
        float.__repr__(value)
        if math.isfinite(value)
        else ("nan" if math.isnan(value) else "inf" if value > 0 else "-inf")
    )


def _print_array(array: Array) -> str:
    short = SHORT_NAMES[array.dtype]
    shape = ",".join(map(str, array.shape))
    if array.size <= 16:
        items = [print_attr(item) for item in array.ravel().tolist()]
        return f"array {short}[{shape}] ({', '.join(items)}{',' if len(items) == 1 else ''})"
    data = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 6)).decode()
    return f'array {short}[{shape}] "{data}"'


def _print_origin(origin: Origin) -> str:
    text = ""
    if origin.scope:
        text += f" scope={quote(origin.scope)}"
    if origin.source:
        text += f" at={quote(origin.source)}"
    if origin.checkpoint:
        text += f" checkpoint={quote(origin.checkpoint)}"
    if origin.role != NOWHERE.role:
        text += f" {origin.role}"
    return text


def quote(text: str) -> str:
    """`text` as one token, which a terminal shows as it is; `unquote` reads it back."""
    return '"' + printable(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def unquote(token: str) -> str:
    """The text that `quote` made a token of."""
    return _ESCAPE.sub(_unescaped, token[1:-1])


_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|.)", re.DOTALL)
_SHORT_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def _unescaped(found: re.Match[str]) -> str:
    escape = found[1]
    return chr(int(escape[1:], 16)) if len(escape) > 1 else _SHORT_ESCAPES.get(escape, escape)
