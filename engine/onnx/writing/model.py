"""An ONNX file of a graph: its inputs, its parameters as initializers, its outputs, and its nodes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ....ir import Array
from ...saving.replace_file import replacing
from ...tracing.errors import located
from ..dtypes import number_of
from ..errors import OnnxError
from . import families as families  # enters what writes each op
from .declarations import declared
from .emitter import Emitter, File, helper, tensor_of
from .symbolic_graph import Length, SymbolicGraph

OPSET, IR_VERSION = 18, 8
MOST_BYTES = 2**31 - 2**24
"""Tensors that a file holds itself: a message has at most 2 GiB."""
_ALIGNMENT = 4096


def write_model(
    path: str | os.PathLike[str],
    graph: SymbolicGraph,
    stored: Mapping[str, Array],
    inputs: Sequence[str | None],
    outputs: Sequence[str],
) -> None:
    """Write the graph as an ONNX file. Its first inputs are `stored`, the others have the names `inputs`; one without
    a name is the key of random draws.

    Tensors of more than 2 GiB go to a file beside it, `path` with `.data` behind. Raises `OnnxError` for an op that
    ONNX does not have, and `OSError` where a file cannot be written; the files are as they were then.
    """
    import onnx  # pyright: ignore[reportMissingImports]

    model, tensors = model_of(graph, stored, inputs, outputs)
    if sum(array.nbytes for array in tensors.values()) <= MOST_BYTES:
        model.graph.initializer.extend(tensor_of(name, array) for name, array in tensors.items())
        _check(onnx, model)
        with replacing(path) as target:
            target.write(model.SerializeToString())
        return
    beside = Path(f"{os.fsdecode(path)}.data")
    with replacing(beside) as data, replacing(path) as target:
        for name, array in tensors.items():
            model.graph.initializer.append(_external(onnx, name, array, data, beside.name))
        target.write(model.SerializeToString())
    _check(onnx, os.fsdecode(path))


def _check(onnx: Any, model: Any) -> None:
    """Raise `OnnxError` with what ONNX's own checker finds in a model, or in the file of one."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise OnnxError(located(f"onnx.checker refuses what was written: {error}")) from None


def model_of(
    graph: SymbolicGraph, stored: Mapping[str, Array], inputs: Sequence[str | None], outputs: Sequence[str]
) -> tuple[Any, dict[str, Array]]:
    """A `ModelProto` without initializers, and the arrays that these are, by name."""
    file = File([*stored, *(name for name in inputs if name), *outputs])
    emitter = Emitter(file)
    arguments = []
    emitter.names.update(zip(graph.inputs, stored))
    for name, value in zip(inputs, graph.inputs[len(stored) :], strict=True):
        if name is None:
            emitter.names[value] = emitter.refuse_draws
            continue
        emitter.names[value] = name
        arguments.append(declared(name, value))
        if value.shape[:1] == (Length(1, 0),):
            file.batch_of = file.batch_of or name
    emitter.write(graph)
    results = []
    for name, value in zip(outputs, graph.outputs, strict=True):
        made = emitter.name(value)
        emitter.nodes.append(helper().make_node("Identity", [made], [name], name=file.fresh(f"/{name}")))
        results.append(declared(name, value))
    read = _names_read(emitter.nodes)
    nodes = [*(node for node in file.nodes if node.output[0] in read), *emitter.nodes]
    body = helper().make_graph(nodes, "gradloom", arguments, results)
    model = helper().make_model(body, opset_imports=[helper().make_opsetid("", OPSET)], producer_name="gradloom")
    model.ir_version = IR_VERSION
    return model, {name: array for name, array in {**stored, **file.initializers}.items() if name in read}


def _names_read(nodes: Sequence[Any]) -> set[str]:
    """All names that nodes read, those of graphs inside too."""
    found: set[str] = set()
    for node in nodes:
        found.update(node.input)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found |= _names_read(attribute.g.node)
                found.update(each.name for each in attribute.g.output)
    return found


def _external(onnx: Any, name: str, array: Array, data: BinaryIO, location: str) -> Any:
    """A tensor whose bytes are appended to `data`."""
    offset = -(-data.tell() // _ALIGNMENT) * _ALIGNMENT
    data.seek(offset)
    data.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    tensor = onnx.TensorProto(name=name, data_type=number_of(array.dtype), dims=array.shape)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", array.nbytes)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor
