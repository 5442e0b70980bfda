"""Warnings of what is seldom meant in a step: arrays that are constants, float64 by accident, batch norm in parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir import Array, ArrayType, Graph, Value, is_float
from ..nn import Module, Parameter
from ..nn.registration import arrays_held
from ..tracing.errors import warn
from ..tracing.float64_entries import float64_entries
from ..tracing.tracer import Trace


def warn_of_precision(
    names: Sequence[str],
    types: Sequence[ArrayType],
    parameters: Sequence[tuple[str, Parameter]],
    precision: str,
    warned: set[str],
) -> None:
    """Warn of leaves of float64 in the batch of a model whose parameters are float32, and of a precision that rounds
    nothing of a model whose parameters are all float64.
    """
    dtypes = {p.dtype for _, p in parameters}
    if np.dtype("float64") in dtypes:
        if precision not in ("fp32", "tf32") and np.dtype("float32") not in dtypes:
            _warn_once(
                f"precision={precision!r} rounds float32, and the parameters are float64: nothing of them and of what "
                'they are multiplied by is rounded; write dtype="float32" for the model, or leave precision= out',
                warned,
            )
        return
    for name, t in zip(names, types):
        if t.dtype == np.dtype("float64") and t.shape:
            _warn_once(
                f"{name} is float64 and the parameters are float32: by NumPy's rules everything computed from it is "
                "float64, in twice the memory; write .astype('float32') if that is not meant",
                warned,
            )


def warn_of_arrays(model: Module, trace: Trace, warned: set[str]) -> None:
    """Tell of floating-point arrays that a module holds as plain attributes, or in lists, dicts and objects, and that
    its forward computes with.
    """
    used = {_address(array): value for array, value in trace.constants if array.size > 1 and is_float(array.dtype)}
    for path, held in arrays_held(model) if used else ():
        is_array = isinstance(held, np.ndarray)
        value = used.get(_address(held) if is_array else held.data_ptr())
        if value is None:
            continue
        at = f", used at {value.node.origin.source}," if value.node and value.node.origin.source else ""
        name = path.rpartition(".")[2] if "[" not in path and "(" not in path else "name"
        what, given = ("NumPy array", "array") if is_array else ("tensor of torch", "tensor.numpy()")
        _warn_once(
            f"{type(model).__name__}: {path} is a {what}{at} which is a constant of the step and not trained; "
            f"write self.{name} = nn.Parameter({given}) to train it, or nn.Buffer({given}) to keep it as it is",
            warned,
        )


def _address(array: Array) -> int:
    """Where an array's first element lies."""
    return array.__array_interface__["data"][0]


def warn_of_float64(
    graph: Graph, trace: Trace, parameters: Sequence[Parameter], loss: Value | None, warned: set[str]
) -> None:
    """Warn of every line where float64 enters a model with parameters of float32, unless it was given such arrays."""
    wide = [value for value in graph.inputs if value.type.dtype == np.dtype("float64")]
    if not any(p.dtype == np.dtype("float32") for p in parameters):
        return
    for entry in float64_entries(graph, trace.doubles, wide, loss):
        if entry.line not in warned:
            warned.add(entry.line)
            warn(entry.message())


def warn_of_parts(accumulate: int, line: str, warned: set[str]) -> None:
    """Warn of batch norm, called at `line`, in a batch that runs in parts."""
    _warn_once(
        f"accumulate={accumulate}: batch norm at {line} takes its statistics from each of {accumulate} parts of the "
        "batch, and its running statistics move once for each; the loss and all else are those of the whole batch. "
        "Write nn.GroupNorm in its place, or accumulate=1, if that is not meant",
        warned,
    )


def warn_of_parts_of_ranks(line: str, warned: set[str]) -> None:
    """Warn of batch norm, called at `line`, in a batch that ranks share."""
    _warn_once(
        f"ranks: batch norm at {line} takes its statistics from each part of the batch (`parts=`), and its running "
        "statistics are means over the parts; the loss and all else are those of the whole batch. Write "
        "nn.SyncBatchNorm in its place, which takes those of the batch of all ranks, or nn.GroupNorm, if that is not "
        "meant",
        warned,
    )


def _warn_once(message: str, warned: set[str]) -> None:
    """Warn once of what is so for every batch of a step."""
    if message not in warned:
        warned.add(message)
        warn(message, UserWarning)
