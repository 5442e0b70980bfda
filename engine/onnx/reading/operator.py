"""ONNX operators as functions of arrays: a registry, in which each is found by its name and opset."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ....ir import Array
from ...tracing.errors import TracingError, located
from ...tracing.tracer import Tracer
from ..errors import OnnxError

if TYPE_CHECKING:
    from .evaluation import Evaluation, Frame
    from .program import Body, OnnxNode

Function = Callable[..., Any]


@dataclass(frozen=True)
class Operator:
    """One operator, as it is from opset `since` on.

    `function(call, *inputs, **attributes)` gives the output, or a tuple or list of them. An input that is left out is
    `None`; attributes come by name, as numbers, text, tuples, arrays and `Body`. `known` finds the places of inputs
    whose values are needed while a program is traced, because they decide a shape. `statistics` are those that count
    along, and are not trained. `of_shapes` says that the result follows from the shapes of the inputs, whatever their
    values.
    """

    name: str
    since: int
    function: Function
    known: Callable[[OnnxNode], Sequence[int]]
    statistics: tuple[int, ...]
    of_shapes: bool

    @functools.cached_property
    def attributes(self) -> frozenset[str]:
        """The names of the attributes that it takes."""
        parameters = inspect.signature(self.function).parameters.values()
        return frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


_OPERATORS: dict[str, list[Operator]] = {}


def operator(
    name: str,
    since: int = 1,
    known: Sequence[int] | Callable[[OnnxNode], Sequence[int]] = (),
    statistics: Sequence[int] = (),
    of_shapes: bool = False,
) -> Callable[[Function], Function]:
    """Enter a function as the operator `name` of ONNX, for opset `since` and on; see `Operator`."""

    def enter(function: Function) -> Function:
        versions = _OPERATORS.setdefault(name, [])
        places = known if callable(known) else lambda node, fixed=tuple(known): fixed
        versions.append(Operator(name, since, function, places, tuple(statistics), of_shapes))
        versions.sort(key=lambda each: each.since)
        return function

    return enter


def find_operator(name: str, version: int) -> Operator | None:
    """The operator as it is in opset `version`; `None` where there is none here."""
    fitting = [each for each in _OPERATORS.get(name, ()) if each.since <= version]
    return fitting[-1] if fitting else None


@dataclass(frozen=True, eq=False)
class Call:
    """One evaluation of a node, which its operator may ask about."""

    node: OnnxNode
    version: int
    frame: Frame
    evaluation: Evaluation

    @property
    def training(self) -> bool:
        """Whether dropout drops, and batch norm normalizes by the batch."""
        return self.evaluation.training

    def wants(self, output: int) -> bool:
        """Whether something may read the output of this number."""
        return output < len(self.node.outputs) and bool(self.node.outputs[output])

    def known(self, value: Any, what: str) -> Array:
        """The values of an input that decides a shape. Raises `TracingError` where they are known only at run time."""
        if isinstance(value, Tracer):
            raise TracingError(
                located(
                    f"{self.node.label}: {what} must be known before the program runs, and it is computed of what is "
                    "not: give the input of the model that it comes from as a list or a NumPy array that is no "
                    "argument of the compiled function"
                )
            )
        return np.asarray(value)

    def numbers(self, value: Any, what: str) -> tuple[int, ...]:
        """`known` as whole numbers."""
        return tuple(int(n) for n in self.known(value, what).ravel())

    def number(self, value: Any, what: str) -> int:
        """`known` as one whole number."""
        found = self.numbers(value, what)
        if len(found) != 1:
            raise OnnxError(located(f"{self.node.label}: {what} is one number, got {len(found)}"))
        return found[0]

    def run(self, body: Body, inputs: Sequence[Any]) -> list[Any]:
        """The outputs of a graph among the attributes, which reads names of the graphs around it too."""
        return self.evaluation.run_body(body, inputs, self.frame)

    def refuse(self, message: str) -> OnnxError:
        """An error at this node."""
        return OnnxError(located(f"{self.node.label}: {message}"))
