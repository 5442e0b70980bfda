"""The programs that a module was exported to: one for each mode and structure of arguments, for any batch if it can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir import DTYPES, ArrayType
from ..nn.binding import binding_of
from ..tracing.errors import TracingError, located
from ..tracing.tracer import Tracer
from .dtypes import numpy_array
from .exporting import exported
from .interpreter import Interpreter, Record
from .output_tree import rebuilt
from .program import Program, flattened
from .promotion import default_float_is
from .table import Traced
from .torch_package import torch_package

if TYPE_CHECKING:
    from .model import TorchModule


class Programs:
    """A module of torch and its exports so far. Arguments that are no tensors hold for calls that do not give them.
    `ops` are functions of the user's for ops of torch.
    """

    def __init__(self, module: Any, kwargs: Mapping[str, Any], ops: Mapping[str, Traced]) -> None:
        self.module = module
        self._ops = ops
        self._kept = {name: value for name, value in kwargs.items() if not any(map(_is_tensor, _leaves(value)))}
        self._programs: dict[Any, list[Program]] = {}

    @property
    def kept(self) -> dict[str, Any]:
        """The keyword arguments that hold for all calls."""
        return dict(self._kept)

    def traced(self, model: TorchModule, args: Sequence[Any], kwargs: Mapping[str, Any], training: bool) -> Any:
        """What the module returns for traced arrays, in the trace that is being written."""
        leaves, program = self.found(args, {**self._kept, **kwargs}, training)
        given = iter(leaves)
        inputs = [self._value(model, program, i, given) for i in range(len(program.inputs))]
        with default_float_is(program.default_float):
            results = Interpreter(program.module, self._ops, _recording(model)).run(inputs)
        returned = []
        for output, result in zip(program.outputs, results):
            if output is not None and output.buffer:
                model.assign(output.buffer, result)
            elif output is not None:
                returned.append(result)
        return rebuilt(program.tree, iter(returned))

    def _value(self, model: TorchModule, program: Program, i: int, leaves: Any) -> Any:
        given = program.inputs[i]
        if given.kind == "stored":
            return model.value(given.name)
        if given.kind == "leaf":
            return next(leaves)
        if given.kind == "constant":
            return given.value
        raise TracingError(located(f"the module reads {given.name}, which is no tensor, and cannot be exported so"))

    def found(self, args: Sequence[Any], kwargs: Mapping[str, Any], training: bool) -> tuple[list[Any], Program]:
        """The leaves of a call as arrays, and a program for them, which is exported where there is none yet."""
        named = {name: kwargs[name] for name in sorted(kwargs)}
        leaves, tree = flattened(args, named)
        leaves = [_as_leaf(leaf) for leaf in leaves]
        key = (training, str(tree), tuple(_kind(leaf) for leaf in leaves))
        programs = self._programs.setdefault(key, [])
        for program in programs:
            if program.accepts(leaves):
                return leaves, program
        torch = torch_package()
        examples = torch.utils._pytree.tree_unflatten([_example(leaf) for leaf in leaves], tree)
        program = self._exported(examples, training)
        if not program.accepts(leaves):
            program = self._exported(examples, training, any_batch=False)
        programs.append(program)
        return leaves, program

    def _exported(self, call: Any, training: bool, any_batch: bool = True) -> Program:
        args, kwargs = call
        made = exported(self.module, args, kwargs, training, any_batch)
        return Program(made, torch_package().get_default_dtype(), self._ops)


def _recording(model: TorchModule) -> Record | None:
    """What writes down the calls of modules inside, where the program that is traced has a recorder."""
    binding = binding_of(model)
    if binding is None or binding.recorder is None:
        return None
    recorder, own = binding.recorder, binding.paths[model]
    weights = {id(binding.value(stored)) for _, stored in model.stored_parameters()}

    def record(path: str, inputs: list[Any], outputs: list[Any]) -> None:
        given = recorder.arrays([x for x in inputs if id(x) not in weights])
        recorder.add(f"{own}.{path}" if own else path, model.get_submodule(path), given, outputs)

    return record


def _leaves(value: Any) -> list[Any]:
    return torch_package().utils._pytree.tree_leaves(value)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, (Tracer, np.ndarray, ArrayType, torch_package().Tensor))


def _as_leaf(leaf: Any) -> Any:
    """An argument as a traced array, an array, or what is none as it is."""
    if isinstance(leaf, torch_package().Tensor):
        return numpy_array(leaf)
    return leaf


def _kind(leaf: Any) -> Any:
    if _is_tensor(leaf):
        return str(leaf.dtype), len(leaf.shape)
    return type(leaf).__name__, repr(leaf)


def _example(leaf: Any) -> Any:
    """A tensor of zeros for an array; what is none as it is."""
    if not _is_tensor(leaf):
        return leaf
    torch = torch_package()
    if np.dtype(leaf.dtype) not in DTYPES:
        raise TypeError(located(f"an argument is {leaf.dtype}, which is not supported"))
    return torch.zeros(tuple(leaf.shape), dtype=getattr(torch, str(np.dtype(leaf.dtype))))
