"""A model that was read from an ONNX file: a module whose parameters are its initializers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ....ir import Array, is_float
from ...compile.compile import compile
from ...nn import Buffer, Module, Parameter
from ...nn.binding import bind, binding_of
from ...nn.parameter import Stored
from ...tracing.errors import ShapeError, TracingError, located
from ...tracing.tracer import Tracer, current_trace
from .evaluation import Evaluation
from .known_names import known_names
from .program import Body, Declared, Program, nodes_of


class _Part(Module):
    """What lies below one part of a name: `layers.0.weight` is the weight of part 0 of the part layers."""

    _by_key = True


class OnnxModel(_Part):
    """The model of an ONNX file, as `gl.from_onnx` gives it.

    `model(x)` takes the graph's inputs by position or by name (`model(**{"input.1": x})`) and gives its output, or a
    tuple of several, in order. In a step, in `gl.grad` and the like it computes with the values of the step. Called by
    itself, with arrays, it is compiled for their types, and computes with the values of the file, in evaluation.

    Parameters are the initializers of floats, under their names; what a batch norm counts along is a buffer. Integers,
    and floats that decide a shape, are constants.
    """

    def __init__(self, program: Program) -> None:
        self._held = held = _Held(program)
        for name, stored in held.stored.items():
            held.places[name] = _registered(self, name, stored, held.stored)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the graph's inputs, in order, without those that have an initializer."""
        return tuple(each.name for each in self._held.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the graph's outputs, in order."""
        return tuple(each.name for each in self._held.program.body.outputs)

    @property
    def known_inputs(self) -> tuple[str, ...]:
        """The inputs whose values decide shapes: a program is made for each of their values."""
        return tuple(name for name in self.input_names if name in self._held.names.known)

    @property
    def constants(self) -> dict[str, Array]:
        """The initializers that are no parameters and no buffers, by name."""
        return dict(self._held.constants)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if binding_of(self) is not None or current_trace() is not None:
            return super().__call__(*args, **kwargs)
        held = self._held
        given = self._in_order(args, kwargs)
        arrays = [_array(each, x) for each, x in zip(held.inputs, given)]
        fixed = tuple(_as_key(x) if each.name in held.names.known else None for each, x in zip(held.inputs, arrays))
        if held.compiled is None:
            held.compiled = compile(self._of_values, static=("fixed",))
        rest = [x if key is None else None for key, x in zip(fixed, arrays)]
        return held.compiled(held.values(), rest, fixed=fixed)

    def _of_values(self, values: Mapping[str, Any], given: list[Any], fixed: tuple[Any, ...]) -> Any:
        inputs = [x if key is None else _of_key(key) for x, key in zip(given, fixed)]
        with bind(self, {self._held.stored[name]: value for name, value in values.items()}, "eval"):
            return super().__call__(*inputs)

    def forward(self, /, *args: Any, **kwargs: Any) -> Any:
        held, binding = self._held, binding_of(self)
        if binding is None:
            raise TracingError(
                located(
                    "the parameters of this model have no values here; write step.bind(lambda model, x: model(x)), "
                    "nn.functional_call(model, nn.init_parameters(model), x), or call it outside of what is traced"
                )
            )
        lengths: dict[str, tuple[int, str]] = {}
        inputs = {each.name: _checked(each, x, lengths) for each, x in zip(held.inputs, self._in_order(args, kwargs))}
        values = {**held.constants, **{name: binding.value(stored) for name, stored in held.stored.items()}}
        outputs = Evaluation(held.program, values, self.training, self._assign).run(inputs)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _assign(self, name: str, value: Any) -> None:
        """Make `value` the new content of what the initializer of this name became, where it is a buffer."""
        if isinstance(self._held.stored.get(name), Buffer):
            module, last = self._held.places[name]
            setattr(module, last, value)

    def _in_order(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
        """All inputs in order. Raises `TypeError` for one that is missing, unknown or given twice."""
        names = self.input_names
        given = dict(zip(names, args))
        wrong = [f"with {name!r} twice" for name in kwargs if name in given]
        wrong += [f"with {name!r}" for name in kwargs if name not in names]
        wrong += [f"with {len(args)} by position"] if len(args) > len(names) else []
        wrong += [f"without {name!r}" for name in names if name not in given and name not in kwargs]
        if wrong:
            declared = ", ".join(f"{each.name}: {each}" for each in self._held.inputs)
            raise TypeError(located(f"the inputs of the model are ({declared}); it was called {', '.join(wrong)}"))
        return [(given | dict(kwargs))[name] for name in names]

    def extra_repr(self) -> str:
        body = self._held.program.body
        shown = [", ".join(f"{each.name}: {each}" for each in part) for part in (self._held.inputs, body.outputs)]
        return f"({shown[0]}) -> ({shown[1]})"

    def printed_children(self) -> list[tuple[str, Any]]:
        return []


class _Held:
    """What the model is made of, beside what it registers as a module."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.names = names = known_names(program)
        self.stored: dict[str, Stored] = {}
        self.constants: dict[str, Array] = {}
        self.places: dict[str, tuple[Module, str]] = {}
        """For names in `stored`, where they are registered."""
        self.compiled: Any = None
        self._values: tuple[list[Any], dict[str, Array]] = ([], {})
        for name, array in _initializers(program.body).items():
            if is_float(array.dtype) and name not in names.known:
                self.stored[name] = Buffer(array) if name in names.statistics else Parameter(array)
            else:
                self.constants[name] = array
        initialized = program.body.initializers
        self.inputs = tuple(each for each in program.body.inputs if each.name not in initialized)

    def values(self) -> dict[str, Array]:
        """The initial values, which are made anew where others were given since."""
        now = [stored.initializer for stored in self.stored.values()]
        if now != self._values[0]:
            self._values = (now, {name: stored.initial(name) for name, stored in self.stored.items()})
        return self._values[1]


def _initializers(body: Body) -> dict[str, Array]:
    """Those of the graph, and of the graphs among the attributes of its nodes."""
    found = dict(body.initializers)
    for node in nodes_of(body.nodes):
        for inner in node.bodies:
            for name, array in inner.initializers.items():
                found.setdefault(name, array)
    return found


def _registered(model: Module, name: str, stored: Stored, names: Mapping[str, Any]) -> tuple[Module, str]:
    """Where `stored` now is: below the parts of its name, or, where these are no path, in the model under all of it.

    Tables are written to as they are, because a name in a file may be that of any attribute.
    """
    *path, last = name.split(".")
    prefixes = {".".join(path[:i]) for i in range(1, len(path) + 1)}
    if not all([*path, last]) or not prefixes.isdisjoint(names):
        path, last = [], name
    for part in path:
        below = model._modules.get(part) or _Part()
        model._modules[part] = below
        model = below
    table: Any = model._parameters if isinstance(stored, Parameter) else model._buffers
    table[last] = stored
    stored.label = name
    return model, last


def _checked(declared: Declared, x: Any, lengths: dict[str, tuple[int, str]]) -> Any:
    """An input as an array of the declared type. Raises `TracingError` or `ShapeError` for one of another.

    `lengths` has the lengths that names stand for, and where each was seen.
    """
    array = x if isinstance(x, Tracer) else _array(declared, x)
    what = f"input {declared.name!r} of the model is {declared}, got {array.dtype}{list(array.shape)}"
    if declared.dtype not in (None, array.dtype):
        raise TracingError(located(f"{what}; write .astype({str(declared.dtype)!r})"))
    if declared.shape is None:
        return array
    if len(declared.shape) != len(array.shape):
        raise ShapeError(located(what))
    for wanted, length in zip(declared.shape, array.shape):
        if isinstance(wanted, int) and wanted != length:
            raise ShapeError(located(what))
        if isinstance(wanted, str):
            known, where = lengths.setdefault(wanted, (length, declared.name))
            if known != length:
                raise ShapeError(located(f"{what}; {wanted} is {known} in {where!r}"))
    return array


def _array(declared: Declared, x: Any) -> Array:
    """An input as an array; numbers and lists of them take the declared dtype."""
    is_number = isinstance(x, (bool, int, float, list, tuple))
    return np.asarray(x, declared.dtype if is_number else None)


def _as_key(array: Array) -> tuple[Any, ...]:
    """An array whose values are part of the program."""
    return (array.dtype.str, array.shape, array.tobytes())


def _of_key(key: tuple[Any, ...]) -> Array:
    dtype, shape, data = key
    return np.frombuffer(data, dtype).reshape(shape)
