"""Tracing an exported program: each node by the function of its op, below the scope and at the line that wrote it."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ...ir.users_line import shown_file, standing_at
from ..tracing.errors import TracingError, UnsupportedError, located
from ..tracing.tracer import scope
from .dtypes import numpy_array, numpy_dtype
from .higher_order import is_higher_order, traced_part
from .module_calls import InnerCall, inner_calls, place
from .promotion import converted, is_array
from .table import Traced, reads_memory, traced_op

Record = Callable[[str, list[Any], list[Any]], None]
"""What is told of each call of a module inside: its path, what it reads, parameters too, and what it gives."""

_TOKEN = ()
"""What torch orders effects by, which is nothing here."""

_DROPPED = frozenset({"device", "layout", "memory_format", "pin_memory", "non_blocking"})
_WITHOUT_RESULT = re.compile(
    r"aten\.(_assert_|_linalg_check_errors|sym_constrain_range|_functional_assert|_functional_sym_constrain)"
)
_FRAME = re.compile(r'^\s*File "(.+)", line (\d+), in', re.MULTILINE)


class Interpreter:
    """One tracing of a graph of torch, in an environment of the values of its nodes, with `ops` of the user's beside
    those of the table.
    """

    def __init__(self, module: Any, ops: Mapping[str, Traced], record: Record | None = None) -> None:
        self._module = module
        self._ops = ops
        self._values: dict[Any, Any] = {}
        self._record = record
        self._ends = {} if record is None else inner_calls(module.graph)

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """The results for values of the placeholders, in their order."""
        given = iter(inputs)
        left = {node: len(node.users) for node in self._module.graph.nodes}
        for node in self._module.graph.nodes:
            if node.op == "output":
                (results,) = node.args  # a body of torch's own may end with one node, and not with a tuple
                return [self._read(x) for x in (results if isinstance(results, (tuple, list)) else (results,))]
            if node.op == "placeholder":
                self._values[node] = next(given)
            elif node.op == "get_attr":
                self._values[node] = _attribute(self._module, node.target)
            else:
                self._values[node] = self._called(node)
            for call in self._ends.get(node, ()):
                self._tell(call)
            for operand in node.all_input_nodes:
                left[operand] -= 1
                if not left[operand] and self._record is None:
                    del self._values[operand]
        raise AssertionError("a graph ends with its output")

    def _tell(self, call: InnerCall) -> None:
        """Tell of a call of a module inside that has ended."""
        assert self._record is not None
        inputs, outputs = ([self._values[node] for node in nodes] for nodes in (call.inputs, call.outputs))
        self._record(call.path, inputs, outputs)

    def _called(self, node: Any) -> Any:
        if node.op != "call_function":
            raise UnsupportedError(located(f"a node of the kind {node.op} in an exported graph is not supported"))
        if not node.users and _is_check(node.target):
            return None
        with _standing_where(node):
            args = self._read(node.args)
            kwargs = {name: self._read(x) for name, x in node.kwargs.items() if name not in _DROPPED}
            if node.target is operator.getitem:
                return _item(node, *args)
            if _of_python(node.target):
                return node.target(*args)
            if is_higher_order(node.target):
                return self._part(node, args)
            if reads_memory(str(node.target)):
                _check_memory(node)
            function = self._ops.get(str(node.target)) or traced_op(str(node.target))
            assert function is not None
            return _as_promised(node, function(*args, **kwargs))

    def _part(self, node: Any, args: list[Any]) -> Any:
        """What a node that takes graphs gives; one with effects gives its token first."""
        if str(node.target) != "with_effects":
            return traced_part(str(node.target), args, lambda part, inputs: Interpreter(part, self._ops).run(inputs))
        _, target, *given = args
        if _is_check(target):
            return _TOKEN, None
        function = self._ops.get(str(target)) or traced_op(str(target))
        if function is None:
            raise UnsupportedError(located(f"the op {target} of torch is not supported here"))
        return _TOKEN, function(*given)

    def _read(self, x: Any) -> Any:
        """An argument of a node as its value."""
        if hasattr(x, "all_input_nodes"):
            return self._values[x]
        if isinstance(x, (list, tuple)):
            return [self._read(part) for part in x]
        if isinstance(x, dict):
            return {key: self._read(part) for key, part in x.items()}
        if isinstance(x, slice):
            return slice(self._read(x.start), self._read(x.stop), self._read(x.step))
        return numpy_dtype(x) if _is_dtype(x) else x


def check_ops(module: Any, ops: Collection[str]) -> None:
    """Raise `UnsupportedError` for an op, beside `ops` of the user's, `TracingError` for a dtype in a graph that there
    is not here; the errors name the user's line and the module that it stands in.
    """
    for part in module.children():
        if hasattr(part, "graph"):
            check_ops(part, ops)
    for node in module.graph.nodes:
        if node.op != "call_function" or (not node.users and _is_check(node.target)):
            continue
        path, kind = place(node)
        where = f", in {path} ({kind})" if path else f", in {kind}" if kind else ""
        name = str(node.target)
        known = node.target is operator.getitem or _of_python(node.target) or is_higher_order(node.target)
        with _standing_where(node):
            if not known and name not in ops and traced_op(name) is None:
                library, op, *_ = name.split(".") if name.count(".") == 2 else ("aten", name)
                instead = "" if library == "aten" else f"; write custom_ops={{'{library}::{op}': f}}"
                raise UnsupportedError(located(f"the op {name} of torch is not supported here{instead}{where}"))
            for value in _tensors(node.meta.get("val")):
                try:
                    numpy_dtype(value.dtype)
                except TypeError as error:
                    raise TracingError(located(f"{error}; {node.target} gives it{where}")) from None


def _tensors(value: Any) -> list[Any]:
    parts = value if isinstance(value, (list, tuple)) else [value]
    return [part for part in parts if hasattr(part, "dtype")]


def _is_dtype(x: Any) -> bool:
    return type(x).__module__ == "torch" and type(x).__name__ == "dtype"


@contextmanager
def _standing_where(node: Any) -> Iterator[None]:
    """Trace what is inside below the scope, and at the line, of a node."""
    with standing_at(*_line(node)), scope(place(node)[0]):
        yield


def _check_memory(node: Any) -> None:
    """Raise `UnsupportedError` where the operand is a view: what is around it in memory is not known here."""
    value = node.args[0].meta["val"]
    if not value.is_contiguous() or value.storage_offset() != 0:
        instead = "write x.contiguous().clone() before it, or slices"
        raise UnsupportedError(located(f"{node.target} of a view of another tensor is not supported; {instead}"))


def _attribute(module: Any, target: str) -> Any:
    value = module
    for name in target.split("."):
        value = getattr(value, name)
    return numpy_array(value) if hasattr(value, "dtype") else value


def _is_check(target: Any) -> bool:
    return bool(_WITHOUT_RESULT.match(str(target)))


def _of_python(target: Any) -> bool:
    """Whether a node computes a length: by a function of Python's, or of symbols."""
    module = getattr(target, "__module__", "") or ""
    if module == "torch":
        return getattr(target, "__name__", "").startswith("sym_")
    return module in ("_operator", "math", "builtins") or module.startswith(("torch.fx.experimental", "torch.sym"))


def _item(node: Any, parts: Any, index: Any) -> Any:
    value = parts[index]
    if value is None and node.users and hasattr(node.meta.get("val"), "dtype"):
        name = str(node.args[0].target)
        raise UnsupportedError(located(f"the result {index} of the op {name} of torch is not supported here"))
    return value


def _as_promised(node: Any, result: Any) -> Any:
    """A result in the dtypes that torch said it has."""
    promised = node.meta.get("val")
    if isinstance(promised, (list, tuple)):
        return [_in_dtype(x, like) for x, like in zip(result, promised)]
    return _in_dtype(result, promised)


def _in_dtype(x: Any, promised: Any) -> Any:
    if not is_array(x) or not hasattr(promised, "dtype"):
        return x
    return converted(x, numpy_dtype(promised.dtype))


def _line(node: Any) -> tuple[str, int]:
    """File and line of the innermost frame of the user's that wrote a node."""
    for file, line in reversed(_FRAME.findall(node.meta.get("stack_trace") or "")):
        shown = shown_file(file)
        if shown:
            return shown, int(line)
    return "", 0
