"""Traced arrays: what stands for an array while a program is written down, and where each operation came from."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import optree

from ...ir import (
    DTYPES,
    Array,
    ArrayType,
    Builder,
    DType,
    Graph,
    Node,
    Op,
    Origin,
    TypeRuleError,
    Value,
    has_one_value,
    is_float,
    type_of,
)
from ...ir.ops import creation, movement
from ...ir.ops import elementwise as ew
from ...ir.users_line import source, user_line
from .array_methods import array_namespace
from .augmented_assignment import AugmentedAssignment
from .errors import ShapeError, TracingError, located
from .known_array import KnownArray
from .misuse import misused, translated
from .mutable_arrays import Memory, Path, current_value, is_loose
from .needs_values import NeedsValues
from .torch_methods import METHODS, refusal

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

    from .float_argument import FloatArgument
    from .mixed_precision import MixedPrecision

__all__ = [
    "ArrayLike",
    "ShapeError",
    "Trace",
    "Tracer",
    "TracingError",
    "as_array",
    "as_operand",
    "current_trace",
    "emit",
    "fresh",
    "located",
    "role",
    "scope",
    "source",
    "trace_of",
]

_FLOAT64 = np.dtype("float64")

ArrayLike = Any
"""A `Tracer`, a NumPy array or scalar, a Python number, or a sequence of them; results are a `Tracer` or an array."""


# The program under construction.


class _Stack(threading.local):
    def __init__(self) -> None:
        self.traces: list[Trace] = []


_stack = _Stack()


def current_trace() -> Trace | None:
    """The trace that is being written on this thread, or `None`."""
    return _stack.traces[-1] if _stack.traces else None


class Trace:
    """A program under construction; active inside `with trace:`, and finished after.

    Every node is stamped with the scope, role and checkpoint region that are set, and with the user's line. With a
    `parent` it is the body of a loop in that program: what it reads of the programs around it becomes an input.
    """

    def __init__(self, parent: Trace | None = None) -> None:
        self.builder = Builder()
        self.parent = parent
        self.captures: dict[Value, Value] = {}
        """For values of the parent that are read here, the inputs that stand for them."""
        self.scope = parent.scope if parent else ""
        self.role = parent.role if parent else "forward"
        self.region = ""
        self.closed = False
        self.prints: list[Any] | None = [] if parent is None else None
        """What `gl.debug.print` is to print, of a program that can return it besides its results."""
        self.floats: dict[Value, str] = parent.floats if parent else {}
        """Inputs of the outermost program that are Python floats, and what to write where one's value is needed."""
        self.doubles: set[Value] = parent.doubles if parent else set()
        """Constants that are float64 by themselves, and not because of what they meet."""
        self.precision: MixedPrecision | None = parent.precision if parent else None
        """What is rounded to bfloat16, where the program is of mixed precision."""
        self.user_ops: dict[str, Op] = parent.user_ops if parent else {}
        """The custom ops of the program by their names."""
        self._regions = 0
        self._origins: dict[tuple[str, str, int, str, str], Origin] = {}
        self._constants: dict[tuple[int, DType], tuple[Array, Array, Value]] = {}

    @contextmanager
    def inlined(self) -> Iterator[Trace]:
        """A program inside this one whose nodes will be nodes of this one: its checkpoint regions are of this one."""
        with Trace(self) as inner:
            inner.region, inner._regions = self.region, self._regions
            yield inner
        self._regions = inner._regions

    def __enter__(self) -> Trace:
        _stack.traces.append(self)
        return self

    def __exit__(self, _: object, error: BaseException | None, trace_back: TracebackType | None) -> None:
        _stack.traces.remove(self)
        self.closed = True
        clear = translated(error, trace_back) if error is not None else None
        if clear is not None:
            raise clear from None

    def origin(self) -> Origin:
        """Where the node that is emitted now comes from."""
        file, line = user_line()
        key = (self.scope, file, line, self.role, self.region)
        found = self._origins.get(key)
        if found is None:
            found = Origin(self.scope, f"{file}:{line}" if file else "", self.role, self.region)
            self._origins[key] = found
        return found

    def input(self, type: ArrayType, name: str = "", writable: bool = False) -> Tracer:
        """A new input of the program; `+=` may write to it only where it is `writable`."""
        result = Tracer(self, self.builder.input(type, name))
        if not writable:
            result.memory = Memory(result.own_value, "it is an argument, and the caller's")
        return result

    def float_input(self, name: str = "", instead: str = "") -> FloatArgument:
        """A new input for a Python float; `instead` is what to write where its value is needed."""
        from .float_argument import FloatArgument

        value = self.builder.input(ArrayType((), np.dtype("float64")), name)
        self.floats[value] = instead
        return FloatArgument(self, value)

    def emit_node(self, op: Op, *values: Value, **attrs: Any) -> Node:
        """Append a node. Raises `TracingError` where the inputs do not fit the op."""
        self.builder.origin = self.origin()
        try:
            if self.precision is not None:
                return self.precision.emit_node(self.builder, op, values, attrs)
            return self.builder.emit_node(op, *values, **attrs)
        except TypeRuleError as error:
            raise TracingError(located(str(error))) from None

    def full(self, value: float | int | bool | complex, shape: tuple[int, ...], dtype: DType) -> Tracer:
        """An array filled with a number. Raises `OverflowError` where an integer does not fit `dtype`."""
        try:
            with np.errstate(all="ignore"):
                real = np.asarray(value)
                fits: Any = ew.cast.reference(real, dtype=dtype) if is_float(real.dtype) else dtype.type(value)
                exact = fits.item()
        except OverflowError as error:
            raise OverflowError(located(str(error))) from None
        return Tracer(self, self.emit_node(creation.full, value=exact, shape=shape, dtype=dtype).output)

    def constant(self, array: Array, dtype: DType | None = None) -> Tracer:
        """An array that is known now, as `dtype`. The same array is kept once; its content is that of the first use."""
        if self.parent is not None:
            return self.own(self.parent.constant(array, dtype))
        dtype = dtype or array.dtype
        key = (id(array), dtype)
        found = self._constants.get(key)
        if found is not None and _same_bits(found[1], array):
            return Tracer(self, found[2])
        with np.errstate(all="ignore"):
            kept = _copied(array, array.dtype)
            cast = kept if dtype == array.dtype else _copied(array, dtype)
        self.builder.origin = self.origin()
        value = self.builder.constant(cast)
        if array.dtype == cast.dtype == _FLOAT64:
            self.doubles.add(value)
        # The array itself is held too, so that its id stays its own.
        self._constants[key] = (array, kept, value)
        return Tracer(self, value)

    @property
    def constants(self) -> list[tuple[Array, Value]]:
        """The arrays that became constants, with what they became."""
        return [(array, value) for array, _, value in self._constants.values()]

    def lift(self, operand: ArrayLike) -> Value:
        """The value of a tracer of this trace, or of a constant."""
        if isinstance(operand, Tracer):
            return self.own(operand).value
        return self.constant(as_array(operand)).value

    def own(self, tracer: Tracer) -> Tracer:
        """`tracer`, or what stands here for one of a program around this. Raises `TracingError` for any other."""
        if self.closed or not self.encloses(tracer):
            raise TracingError(located(_leaked(tracer)))
        if tracer.owner is self or self.parent is None:
            return tracer
        value = self.parent.own(tracer).value
        if value.node is not None and value.node.op is creation.full:
            copied = self.emit_node(creation.full, **value.node.attrs).output
            if value in self.doubles:
                self.doubles.add(copied)
            return Tracer(self, copied)
        if value not in self.captures:
            self.captures[value] = Value(value.type, name=value.name)
            if self.precision is not None:
                self.precision.stands_for(self.captures[value], value)
        return Tracer(self, self.captures[value])

    def encloses(self, tracer: Tracer) -> bool:
        """Whether `tracer` belongs to this program or to one around it, which is still being written."""
        trace: Trace | None = self
        while trace is not None and trace is not tracer.owner:
            trace = trace.parent
        return trace is not None and not trace.closed

    @contextmanager
    def checkpointed(self) -> Iterator[None]:
        """Mark the nodes emitted inside as one region whose values are computed again in the backward pass."""
        before = self.region
        self._regions += 1
        self.region = f"{before}/{self._regions}" if before else str(self._regions)
        try:
            yield
        finally:
            self.region = before

    def graph(
        self,
        outputs: Sequence[ArrayLike],
        output_names: Sequence[str] | None = None,
        aliases: dict[int, int] | None = None,
    ) -> Graph:
        """The finished program; outputs that are plain arrays become constants."""
        return self.builder.graph([self.lift(output) for output in outputs], aliases, output_names)


def _copied(array: Array, dtype: DType) -> Array:
    """A copy as `dtype`, which takes the memory of a number where one fills the array, as in a state of zeros."""
    if has_one_value(array):
        return np.broadcast_to(array.flat[0].astype(dtype), array.shape)
    return array.astype(dtype, order="C", subok=False)


def _same_bits(kept: Array, array: Array) -> bool:
    if kept.shape != array.shape:
        return False
    if has_one_value(array):
        return has_one_value(kept) and kept.flat[0].tobytes() == array.flat[0].tobytes()
    return kept.tobytes() == array.tobytes()


def _leaked(tracer: Tracer) -> str:
    if tracer.owner.closed:
        return (
            f"this traced array ({tracer.own_value.type}) is left over from a trace that has ended; "
            "return arrays from the traced function instead of storing them elsewhere; "
            "nn.scan(model, f, ...) is a loop whose body may assign buffers of the model"
        )
    return (
        f"this traced array ({tracer.own_value.type}) belongs to another trace; "
        "pass it as an argument to the function that is traced instead of closing over it"
    )


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Put the nodes traced inside under `name`, below the scope around it: `layers.3.attn`."""
    trace = current_trace()
    if trace is None:
        yield
        return
    before = trace.scope
    trace.scope = f"{before}.{name}" if before and name else before or name
    try:
        yield
    finally:
        trace.scope = before


@contextmanager
def role(name: str) -> Iterator[None]:
    """Give the nodes traced inside a role: `"optimizer"`."""
    trace = current_trace()
    if trace is None:
        yield
        return
    before = trace.role
    trace.role = name
    try:
        yield
    finally:
        trace.role = before


# Operands and operations.


def as_array(operand: ArrayLike) -> Array:
    """A concrete operand as a native array of a supported dtype. Raises `TypeError` for other dtypes."""
    if isinstance(operand, np.ma.MaskedArray):
        raise TypeError(located("a masked array would lose its mask; write x.filled(value), or np.where with the mask"))
    kind = type(operand)
    array = operand if kind is np.ndarray or kind is KnownArray else _plain_array(operand)
    if array.dtype in DTYPES and array.dtype.isnative:
        return array
    try:
        dtype = type_of(array).dtype
    except TypeError as error:
        is_object = array.dtype == object
        message = f"an operand of type {type(operand).__name__} is no array of numbers" if is_object else str(error)
        if hasattr(operand, "named_parameters"):
            message += "; a loss function is called with (model, batch), and model(x) is an array"
        elif isinstance(operand, str):
            instead = f"a dict that is unpacked gives its keys: write batch[{operand!r}]"
            message = f"the text {operand!r} is not supported as an array; {instead}"
        raise TypeError(located(message)) from None
    return array.astype(dtype)


def _plain_array(operand: ArrayLike) -> Array:
    """What is no plain array as one. Raises `TypeError` with what the conversion said."""
    if isinstance(operand, np.matrix):
        raise TypeError(located("a np.matrix multiplies and keeps its axes in its own way; write np.asarray(m)"))
    if not isinstance(operand, np.ndarray) and hasattr(operand, "toarray"):
        kind = type(operand).__name__
        raise TypeError(located(f"a sparse {kind} takes no part in a trace; write m.toarray() once, outside"))
    try:
        return np.asarray(operand)
    except (RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, TracingError) or ", at " in str(error):
            raise  # it says enough
        kind = type(operand).__name__
        raise TypeError(located(f"an operand of type {kind} is no array of numbers: {error}")) from None


def as_operand(x: ArrayLike) -> ArrayLike:
    """`x` as a `Tracer`, an array of a supported dtype, or a Python bool, int, float or complex; `TypeError` for all
    else.
    """
    kind = type(x)
    if kind is Tracer or kind is float or kind is int or kind is bool or kind is complex:
        return x
    if isinstance(x, Tracer):
        return x
    if isinstance(x, (list, tuple)) and any(isinstance(leaf, Tracer) for leaf in optree.tree_leaves(x)):  # pyright: ignore[reportArgumentType]
        return array_namespace().asarray(x)
    return as_array(x)


def trace_of(operands: Sequence[ArrayLike]) -> Trace | None:
    """The trace of the tracers among `operands`; `None` where all are concrete. Raises `TracingError` for leaks."""
    for operand in operands:
        if isinstance(operand, Tracer):
            trace = current_trace()
            if trace is None or not trace.encloses(operand):
                raise TracingError(located(_leaked(operand)))
            return trace
    return None


def emit(op: Op, *operands: ArrayLike, **attrs: Any) -> Any:
    """Apply a primitive: a node where an operand is traced, computed at once where none is.

    Operands are of the shapes and dtypes that the op wants: nothing is promoted or broadcast here. Gives a `Tracer` or
    an array, a tuple of them for an op with several outputs. Raises `TracingError` where the operands do not fit.
    """
    trace = trace_of(operands)
    if trace is None:
        return _compute(op, [as_array(operand) for operand in operands], attrs)
    node = trace.emit_node(op, *(trace.lift(operand) for operand in operands), **attrs)
    if len(node.outputs) == 1:
        result = Tracer(trace, node.outputs[0])
        as_operands = op.family not in _IN_OWN_ORDER and op.kernel is None and _loose(operands)
        if len(result.shape) > 1 and (op is movement.transpose or as_operands):
            result.memory = Memory(result.own_value, loose=True)
        return result
    return tuple(Tracer(trace, value) for value in node.outputs)


_IN_OWN_ORDER = frozenset({"creation", "contraction", "convolution", "window", "scan", "region"})
"""Families of ops whose results NumPy lays out in memory row by row, wherever their operands lie."""


def _loose(operands: Sequence[ArrayLike]) -> bool:
    return any(isinstance(x, Tracer) and x.memory is not None and is_loose(x) for x in operands)


def _compute(op: Op, arrays: list[Array], attrs: dict[str, Any]) -> Any:
    try:
        op.infer(*(type_of(array) for array in arrays), **attrs)
    except TypeRuleError as error:
        raise TracingError(located(f"{op.name}: {error}")) from None
    try:
        with np.errstate(all="ignore"):
            result = op.reference(*arrays, **attrs)
    except IndexError as error:
        raise IndexError(located(str(error))) from None
    except ValueError as error:
        raise ValueError(located(str(error))) from None
    return tuple(np.asarray(part) for part in result) if isinstance(result, tuple) else np.asarray(result)


@functools.cache
def _dispatch() -> Any:
    from ..array_api import dispatch

    return dispatch


class Tracer(NeedsValues, AugmentedAssignment):
    """An array of known shape and dtype whose values are computed when the traced program runs.

    It answers Python's operators, NumPy's functions and the methods of NumPy arrays; each adds nodes to the program.
    What would need values (`if x > 0`, `float(x)`, `np.asarray(x)`, `x[0] = 1`) raises `TracingError`.
    """

    __slots__ = ("memory", "own_value", "owner", "path", "seen")
    __array_priority__ = 1000

    def __init__(self, trace: Trace, value: Value) -> None:
        self.owner = trace
        self.own_value = value
        self.memory: Memory | None = None
        """What it shares with its views, once there is such: see `memory.py`. Scalars have none."""
        self.path: Path = ()
        self.seen = 0

    @property
    def value(self) -> Value:
        """What it stands for now: another value after it, or what shares its memory, was written to."""
        memory = self.memory
        if memory is None or (self.seen == memory.version and not memory.stale):
            return self.own_value
        return current_value(self)

    # What is known.

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of every axis."""
        return self.own_value.type.shape

    @property
    def dtype(self) -> DType:
        """The dtype of the elements."""
        return self.own_value.type.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.own_value.type.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.own_value.type.size

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.own_value.type.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.own_value.type.nbytes

    @property
    def device(self) -> str:
        """Where the array lives, as the Array API standard asks; decided when the program is compiled."""
        return "cpu"

    @property
    def T(self) -> Any:
        """The axes in reverse order."""
        return array_namespace().transpose(self)

    @property
    def mT(self) -> Any:
        """The last two axes exchanged."""
        return array_namespace().matrix_transpose(self)

    @property
    def at(self) -> Any:
        """Functional updates, as in JAX: `x.at[index].set(values)`, `add`, `multiply`, `min`, `max`, `get`."""
        return array_namespace().at(self)

    @property
    def real(self) -> Any:
        """The real parts: of an array of real numbers the array itself."""
        return array_namespace().real(self)

    @property
    def imag(self) -> Any:
        """The imaginary parts: zeros of an array of real numbers."""
        return array_namespace().imag(self)

    def __repr__(self) -> str:
        return f"<traced {self.own_value.type}>"

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(located(misused("len() of a traced array with no axes", self)))
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError(located(misused("iteration over a traced array with no axes", self)))
        return iter([self[i] for i in range(self.shape[0])])

    # NumPy's protocols.

    def __array_namespace__(self, *, api_version: str | None = None) -> ModuleType:
        return array_namespace()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return _dispatch().call_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _dispatch().call_function(func, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(f"a traced array has no attribute {name!r}")  # a protocol that is asked for
        if name in METHODS:
            return functools.partial(METHODS[name], self)
        instead = refusal(name) or _dispatch().alternatives(name)
        raise AttributeError(located(f"a traced array has no attribute {name!r}; {instead}"))

    def __copy__(self) -> Any:
        return array_namespace().copy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return array_namespace().copy(self)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TracingError(
            located("a traced array cannot be pickled; return it from the traced function, whose results are arrays")
        )

    def copy(self, order: str = "C") -> Tracer:
        """A copy of its own: `+=` on one leaves the other as it is."""
        return fresh(self)


def fresh(x: ArrayLike) -> Any:
    """`x` as a traced array that shares memory with no other; what is not traced as it is."""
    if not isinstance(x, Tracer):
        return x
    result = Tracer(x.owner, x.value)
    if not x.shape and x.memory is not None:
        result.memory = Memory(result.own_value)  # an array without axes, and no scalar
    return result
