"""Writing nodes of ONNX for the nodes of a graph: each op has a function that does it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ....ir import Array, DType, Op, is_float
from ....ir.types import BOOL, INT32
from ..dtypes import number_of
from ..errors import OnnxError
from .symbolic_graph import Dim, Length, SymbolicGraph, SymbolicNode, SymbolicValue

UINT8 = np.dtype("uint8")

BATCH = "batch"
"""The name of the length that may be any."""

Name = str | Callable[[], str]
"""The name of a value, or what writes the nodes for it once it is asked for."""

Emit = Callable[["Emitter", SymbolicNode], Name | Sequence[Name]]
"""Writes nodes for one, and gives the names of its outputs."""

_EMITS: dict[Op, Emit] = {}


def emits(*ops: Op) -> Callable[[Emit], Emit]:
    """Enter a function as the one that writes `ops`."""

    def enter(function: Emit) -> Emit:
        _EMITS.update(dict.fromkeys(ops, function))
        return function

    return enter


def helper() -> Any:
    """The functions of `onnx` that make nodes and graphs, which is imported where a file is written."""
    from onnx import helper as functions  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

    return functions


def tensor_of(name: str, array: Array) -> Any:
    """An array as a `TensorProto`."""
    raw = np.ascontiguousarray(array).tobytes()
    return helper().TensorProto(name=name, data_type=number_of(array.dtype), dims=array.shape, raw_data=raw)


class File:
    """What all graphs of one file share: names, and constants.

    Constants of floats are nodes, and no initializers: who reads the file takes such for parameters.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.taken = set(names)
        self.initializers: dict[str, Array] = {}
        self.nodes: list[Any] = []
        self.batch_of = ""
        """The input whose first length is the batch."""
        self._counts: dict[str, int] = defaultdict(lambda: 1)
        self._constants: dict[tuple[DType, tuple[int, ...], bytes], str] = {}

    def fresh(self, name: str) -> str:
        """`name`, with a number behind it where it is taken."""
        found = name
        while found in self.taken:
            self._counts[name] += 1
            found = f"{name}_{self._counts[name]}"
        self.taken.add(found)
        return found

    def constant(self, array: Array) -> str:
        """The name of an array that is known."""
        key = (array.dtype, array.shape, array.tobytes())
        if key not in self._constants:
            name = self._constants[key] = self.fresh("constant")
            if is_float(array.dtype):
                value = tensor_of("", array)
                self.nodes.append(helper().make_node("Constant", [], [name], name=self.fresh("/Constant"), value=value))
            else:
                self.initializers[name] = array
        return self._constants[key]


class Emitter:
    """One graph of ONNX under construction. A value whose name nobody asks for is not computed."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.nodes: list[Any] = []
        self.names: dict[SymbolicValue, Name] = {}
        self.thin: dict[SymbolicValue, Callable[[], str]] = {}
        """For values that only repeat another, that one: most operators repeat by themselves."""
        self._node: SymbolicNode | None = None
        self._lengths: dict[Length | None, str] = {}
        self._transposed: dict[str, tuple[str, Sequence[int]]] = {}

    # Values.

    def name(self, value: SymbolicValue) -> str:
        """The name of a value, which is computed now if it was left for later."""
        found = self.names[value]
        if not isinstance(found, str):
            before, self._node = self._node, value.node
            found = self.names[value] = found()
            self._node = before
        return found

    def operands(self, node: SymbolicNode) -> list[str]:
        """The inputs of an element-wise node; those that repeat another are repeated by the operator, if one is not."""
        if all(value in self.thin for value in node.inputs):
            return [self.name(value) for value in node.inputs]
        return [self.thin[value]() if value in self.thin else self.name(value) for value in node.inputs]

    def write(self, graph: SymbolicGraph) -> None:
        """Write the nodes of a graph, whose inputs have names."""
        for node in graph.nodes:
            self._node = node
            if node.op.is_identity:
                self.alias(node.output, node.inputs[0])
                continue
            emit = _EMITS.get(node.op)
            if emit is None:
                self._refuse_later(node)
                continue
            result = emit(self, node)
            names: Sequence[Name] = (result,) if isinstance(result, str) or callable(result) else result
            self.names.update(zip(node.outputs, names, strict=True))
        self._node = None

    def alias(self, value: SymbolicValue, same: SymbolicValue) -> None:
        """`value` is another one."""
        self.names[value] = lambda: self.name(same)
        if same in self.thin:
            self.thin[value] = self.thin[same]

    def _refuse_later(self, node: SymbolicNode) -> None:
        def refuse() -> str:
            raise self.refusal(f"ONNX has no operator for {node.op.name}")

        self.names.update(dict.fromkeys(node.outputs, refuse))

    def refuse_draws(self) -> str:
        """Raise the error that random numbers cannot be drawn."""
        raise self.refusal(
            "it draws random numbers, for whose bits ONNX has no operator; give what is drawn as an argument"
        )

    def refusal(self, why: str) -> OnnxError:
        """The error that the node that is written cannot be."""
        origin = self._node.origin if self._node else None
        scope = f" of {origin.scope}" if origin and origin.scope else ""
        at = f", at {origin.source}" if origin and origin.source else ""
        return OnnxError(f"the function cannot be written as ONNX: {why}{scope}{at}")

    # Nodes.

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output; the name of that."""
        return self.several(kind, inputs, 1, **attributes)[0]

    def several(self, kind: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """A node with several outputs; their names. It is called after the module that it is of."""
        origin = self._node.origin if self._node else None
        scope = "/".join(re.split(r"[./]", origin.scope)) if origin and origin.scope else ""
        name = self.file.fresh(f"/{scope}/{kind}" if scope else f"/{kind}")
        made = [self.file.fresh(f"{name}_output" if i == 0 else f"{name}_output_{i}") for i in range(outputs)]
        doc = origin.source if origin else ""
        given = {key: value for key, value in attributes.items() if value != []}
        self.nodes.append(helper().make_node(kind, list(inputs), made, name=name, doc_string=doc, **given))
        return made

    def constant(self, value: Any, dtype: npt.DTypeLike) -> str:
        """A number, or an array, that is known. Raises `OnnxError` where it follows from the batch."""
        if isinstance(value, Length):
            raise self.refusal("a number follows from the batch")
        return self.file.constant(np.asarray(value, dtype))

    def numbers(self, *values: int) -> str:
        """Whole numbers that are known, as axes are given."""
        return self.constant(values, np.int64)

    # Lengths.

    def lengths(self, dims: Sequence[Dim]) -> str:
        """Numbers and lengths as one array."""
        if not any(isinstance(dim, Length) for dim in dims):
            return self.numbers(*(dim for dim in dims if isinstance(dim, int)))
        parts = [self._length(dim) if isinstance(dim, Length) else self.numbers(dim) for dim in dims]
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=0)

    def _length(self, length: Length) -> str:
        if length not in self._lengths:
            if None not in self._lengths:
                self._lengths[None] = self.node("Shape", self.file.batch_of, start=0, end=1)
            found = self._lengths[None]
            found = found if length.times == 1 else self.node("Mul", found, self.numbers(length.times))
            found = found if length.plus == 0 else self.node("Add", found, self.numbers(length.plus))
            self._lengths[length] = found
        return self._lengths[length]

    def whole(self, dims: Sequence[Dim], what: str) -> tuple[int, ...]:
        """Numbers that ONNX has as attributes. Raises `OnnxError` where one follows from the batch."""
        if any(isinstance(dim, Length) for dim in dims):
            raise self.refusal(f"{what} follows from the batch")
        return tuple(dim for dim in dims if isinstance(dim, int))

    def reshaped(self, name: str, shape: Sequence[Dim]) -> str:
        """An array in another shape, one of whose lengths may be left to ONNX."""
        open_ones = [dim for dim in shape if isinstance(dim, Length)]
        if len(open_ones) == 1 and 0 not in shape:
            return self.node("Reshape", name, self.numbers(*(-1 if isinstance(n, Length) else n for n in shape)))
        return self.node("Reshape", name, self.lengths(shape), **({"allowzero": 1} if 0 in shape else {}))

    def transposed(self, name: str, perm: Sequence[int]) -> str:
        """An array with its axes in another order; one that was transposed before is transposed once."""
        if name in self._transposed:
            name, first = self._transposed[name]
            perm = [first[i] for i in perm]
        if list(perm) == list(range(len(perm))):
            return name
        result = self.node("Transpose", name, perm=list(perm))
        self._transposed[result] = (name, tuple(perm))
        return result

    def is_wide(self, value: SymbolicValue) -> bool:
        """Whether operators of numbers take a value, which is so but for bytes and bools."""
        return value.dtype not in (UINT8, BOOL)

    def wide(self, value: SymbolicValue) -> str:
        """A value for operators of numbers: bytes and bools as int32."""
        return self.name(value) if self.is_wide(value) else self.cast(self.name(value), INT32)

    def narrow(self, name: str, value: SymbolicValue) -> str:
        """What an operator of numbers made, in the dtype of `value`; a result of comparisons is a bool already."""
        return self.cast(name, value.dtype)

    def cast(self, name: str, dtype: DType) -> str:
        """An array in another dtype."""
        return self.node("Cast", name, to=number_of(dtype))
