"""Running a graph with NumPy, one node at a time: the oracle for everything else."""

from __future__ import annotations

import numpy as np

from .graph import Graph, Value
from .types import Array
from .users_line import located


def interpret(graph: Graph, *flat_inputs: Array) -> tuple[Array, ...]:
    """The outputs of `graph` for the given arrays, one for each graph input, of exactly its shape and dtype.

    Raises `TypeError` where the number of arrays, a shape or a dtype differs, `IndexError` for an index out of range,
    `ValueError` for a negative exponent of an integer, `np.linalg.LinAlgError` for a matrix that cannot be factored.
    """
    if len(flat_inputs) != len(graph.inputs):
        raise TypeError(located(f"the graph has {len(graph.inputs)} inputs, got {len(flat_inputs)} arrays"))
    values: dict[Value, Array] = {}
    for i, (value, given) in enumerate(zip(graph.inputs, flat_inputs)):
        array = np.asarray(given)
        if array.shape != value.type.shape or array.dtype != value.type.dtype:
            name = value.name or f"number {i}"
            raise TypeError(
                located(f"input {name} is {value.type}, got an array of shape {array.shape} and {array.dtype}")
            )
        values[value] = array
    last_use = {value: i for i, node in enumerate(graph.nodes) for value in node.inputs}
    keep = set(graph.outputs)
    with np.errstate(all="ignore"):
        for i, node in enumerate(graph.nodes):
            try:
                result = node.op.reference(*(values[v] for v in node.inputs), **node.attrs)
            except np.linalg.LinAlgError as error:  # which is a ValueError
                raise np.linalg.LinAlgError(f"{node.origin.source or node.op.name}: {error}") from None
            except IndexError as error:
                raise IndexError(f"{node.origin.source or node.op.name}: {error}") from None
            except ValueError as error:
                raise ValueError(f"{node.origin.source or node.op.name}: {error}") from None
            arrays = result if isinstance(result, tuple) else (result,)
            for value, array in zip(node.outputs, arrays, strict=True):
                values[value] = np.asarray(array)
                assert values[value].shape == value.type.shape, (node, values[value].shape)
                assert values[value].dtype == value.type.dtype, (node, values[value].dtype)
            for value in node.inputs:
                if last_use[value] == i and value not in keep:
                    values.pop(value, None)
    return tuple(values[v] for v in graph.outputs)
