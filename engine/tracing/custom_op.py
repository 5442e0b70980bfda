"""`custom_op`: a kernel that the user writes, with declared types, cost and derivative."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np

from ...ir import OPS, ArrayType, Op
from ...ir.function_digest import FunctionParts, UnfrozenError, function_of
from ...ir.near_names import similar
from ...ir.ops.custom_op import make_custom_op
from ...ir.types import BFLOAT16, FLOAT32
from ...ir.user_kernel import CUSTOM_OPS, Options, UserKernel
from ...ir.users_line import shown_file
from ..array_api.broadcasting import as_arraylike, common_shape, integer, stretched
from ..array_api.broadcasting import cast as as_type
from .custom_op_types import count_rule, option_value, results_of_elements, types_rule
from .custom_op_vjp import vjp_rule
from .errors import TracingError, located
from .keywords import tells_keywords
from .promotion import result_dtype
from .tracer import current_trace, emit, trace_of

Kernel = Callable[..., Any]


@overload
def custom_op(
    kernel: Kernel,
    /,
    *,
    result: Any = None,
    flops: Callable[..., int] | None = None,
    vjp: Kernel | None = None,
    rows: int | Sequence[int] = (),
    scratch: Any = None,
    boundscheck: bool = False,
    elementwise: bool = False,
    name: str | None = None,
) -> CustomOp: ...
@overload
def custom_op(
    *,
    result: Any = None,
    flops: Callable[..., int] | None = None,
    vjp: Kernel | None = None,
    rows: int | Sequence[int] = (),
    scratch: Any = None,
    boundscheck: bool = False,
    elementwise: bool = False,
    name: str | None = None,
) -> Callable[[Kernel], CustomOp]: ...
@tells_keywords
def custom_op(
    kernel: Kernel | None = None,
    /,
    *,
    result: Any = None,
    flops: Callable[..., int] | None = None,
    vjp: Kernel | None = None,
    rows: int | Sequence[int] = (),
    scratch: Any = None,
    boundscheck: bool = False,
    elementwise: bool = False,
    name: str | None = None,
) -> Any:
    """A kernel of yours as an op: a function of arrays for models, losses and all that is traced.

        def softmax_vjp(cotangent, result, x, *, temperature):
            inner = (cotangent * result).sum(axis=1, keepdims=True)
            return (cotangent - inner) * result / temperature

        @gl.custom_op(result=lambda x, temperature: x, rows=0, vjp=softmax_vjp)
        def tempered_softmax(out, x, *, temperature=1.0):
            for i in range(x.shape[0]):
                top = x[i, 0]
                for j in range(x.shape[1]):
                    top = max(top, x[i, j])
                total = np.float32(0)
                for j in range(x.shape[1]):
                    out[i, j] = math.exp((x[i, j] - top) / temperature)
                    total += out[i, j]
                for j in range(x.shape[1]):
                    out[i, j] /= total

        probabilities = tempered_softmax(scores, temperature=0.5)

    The function `kernel(*results, *inputs, *scratch, **options)` is compiled by Numba, as `numba.njit` would, and runs
    inside the one native call of a program. Arrays lie row by row; it writes every element of the results, reads the
    inputs, and returns nothing. It allocates no array and calls nothing of Python's. It may call other functions of
    yours, and read numbers around it: these are compiled in. Parameters behind `*` or with a default are options: bool,
    int, float, str, None, or tuples of them, given by keyword and compiled in. On plain arrays it runs in Python.

    - `result`: what the results are, as `gl.spec`s; a tuple where there are several. Or a function of the `gl.spec`s
      of the inputs, and of the options by name, that returns these.
    - `flops`: a function of the same that counts operations. It tells budgets what recomputing costs. By default one
      for each element that is read or written.
    - `vjp(cotangent, result, *inputs, **options)`: the cotangent of each input, in traced code, as a tuple; `None` for
      zeros. Of several results, cotangents and results are tuples. It may call custom ops. Without it, whoever takes
      the derivative is told so. Derivatives of higher order, and `jvp`, are those of what it computes.
    - `rows`: numbers of inputs. Row i of every result is made of row i of these inputs, and of other inputs as a whole.
      Then threads share the rows, batches may be cut into tiles, and `vmap` is one call. By default one thread runs
      the kernel, nothing cuts it, and `vmap` runs it example by example.
    - `scratch`: as `result`, the arrays to work in. Each thread has its own, in the memory that was planned.
    - `boundscheck`: an index out of range stops the run; by default it reads and writes what lies there.
    - `elementwise`: the function takes elements, and returns one: `kernel(*elements, **options)`. Inputs are broadcast,
      the op is fused with its neighbours, and `result` is a dtype, by default the common one of the inputs. It raises
      no exception.
    - `name`: what it is called in texts and pictures of programs; by default the name of the function.

    The function must do the same for the same inputs: a budget may run it again. Where it may stop with an exception,
    so does the program, and it is never run again. bfloat16 is given to it as float32. Known elsewhere as
    `torch.library.custom_op`, JAX's FFI, and `Op` of PyTensor.

    `op.check(*inputs, **options)` holds the compiled kernel against the function in Python. Raises `TypeError` for what
    cannot be a kernel; whoever calls it is told of inputs that do not fit.
    """

    def define(function: Kernel) -> CustomOp:
        return CustomOp(function, result, flops, vjp, rows, scratch, boundscheck, elementwise, name)

    return define if kernel is None else define(kernel)


class CustomOp:
    """A function of arrays that `custom_op` made of a kernel."""

    def __init__(
        self,
        function: Kernel,
        result: Any,
        flops: Callable[..., int] | None,
        vjp: Kernel | None,
        rows: int | Sequence[int],
        scratch: Any,
        boundscheck: bool,
        elementwise: bool,
        name: str | None,
    ) -> None:
        plain = function_of(function)
        if plain is None:
            kind = type(function).__name__
            raise TypeError(
                located(f"custom_op takes a Python function, got {kind}; write @gl.custom_op(...) above it")
            )
        functools.update_wrapper(self, plain)
        self.function = plain
        self.name = _checked_name(plain.__name__ if name is None else name)
        self.arrays, self.options = _parameters(self.name, plain)
        if elementwise and (scratch is not None or rows != () or boundscheck):
            what = "an elementwise kernel has no rows=, scratch= and boundscheck=; leave them away"
            raise TypeError(located(f"{self.name}: {what}"))
        if result is None and not elementwise:
            example = "result=lambda x: gl.spec(x.shape, x.dtype)"
            raise TypeError(located(f"{self.name}: custom_op is told what the results are; write {example}"))
        for what, given in (("vjp", vjp), ("flops", flops)):
            if given is not None and not callable(given):
                raise TypeError(located(f"{self.name}: {what} is a function or None, got {given!r}"))
        self.elementwise = elementwise
        self.boundscheck = bool(boundscheck)
        self.rows = tuple(
            integer(i, f"{self.name}: a number of rows=") for i in (rows if isinstance(rows, (tuple, list)) else [rows])
        )
        if any(i < 0 for i in self.rows):
            raise TypeError(located(f"{self.name}: rows= are numbers of inputs from 0 on, got {rows!r}"))
        self.result = results_of_elements(result) if elementwise else types_rule("result", result)
        self.scratch = None if scratch is None else types_rule("scratch", scratch)
        self.flops = None if flops is None else count_rule(flops)
        self.vjp = vjp
        self.__signature__ = _signature(self, result)
        self._known: tuple[Op, FunctionParts] | None = None
        # A later definition of the same function takes the place of this one.
        CUSTOM_OPS.setdefault(self.name, {})[f"{plain.__module__}.{plain.__qualname__}"] = lambda: self.op

    @property
    def op(self) -> Op:
        """The op of programs, which is declared when it is first used. Raises `TracingError` where the function reads
        something that may change, or that has changed since.
        """
        try:
            parts = FunctionParts(self.function)
        except UnfrozenError as error:
            raise TracingError(located(f"{self.name}: {error}")) from None
        if self.elementwise and parts.may_raise:
            advice = "return NaN, or write a kernel over arrays"
            raise TracingError(located(f"{self.name}: a kernel of elements cannot raise an exception; {advice}"))
        if self._known is None:
            kernel = UserKernel(
                self.name,
                self.function,
                parts.digest,
                self.source,
                self.elementwise,
                self.rows,
                None if self.scratch is None else functools.partial(self.scratch, wide=True),
                self.boundscheck,
            )
            may_stop = self.boundscheck or parts.may_raise
            rule = vjp_rule(self.name, self.arrays, self.vjp)
            result = functools.partial(self.result, wide=True)
            self._known = make_custom_op(kernel, result, self.flops, rule, may_stop), parts
        elif self._known[1].digest != parts.digest:
            changed = [name for name, text in self._known[1].values.items() if parts.values.get(name) != text]
            names = ", ".join(name.partition(" ")[2] for name in changed) or "its code"
            advice = "give what changes as an input, or as an option by keyword"
            raise TracingError(located(f"{self.name}: {names} changed since the kernel was first used; {advice}"))
        return self._known[0]

    @property
    def py_func(self) -> Kernel:
        """The function in Python, which other kernels may call."""
        return self.function

    @property
    def source(self) -> str:
        """The user's file and line of the function."""
        code = self.function.__code__
        return f"{shown_file(code.co_filename) or code.co_filename}:{code.co_firstlineno}"

    def __reduce__(self) -> str:
        """Pickled as functions are, by its name in its module; a copy is itself."""
        return self.function.__qualname__

    def __repr__(self) -> str:
        return f"<custom op {self.name} of {self.source}>"

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """The results for some inputs: an array, or a tuple of them."""
        given = self._chosen(options)
        operands = self._operands(inputs)
        types = [ArrayType(tuple(x.shape), x.dtype) for x in operands]
        op = self.op
        wanted = self._wanted(types, given)
        trace = current_trace()
        if trace is not None and trace_of(operands) is not None and trace.user_ops.setdefault(self.name, op) is not op:
            advice = f"give one of them name={self.name + '_2'!r}, or make what differs an option"
            raise TracingError(located(f"two custom ops of one program are named {self.name}; {advice}"))
        wide = [as_type(x, FLOAT32) if x.dtype == BFLOAT16 else x for x in operands]
        made = emit(op, *wide, options=given)
        results = [as_type(x, t.dtype) for x, t in zip(made if isinstance(made, tuple) else (made,), wanted)]
        return results[0] if len(results) == 1 else tuple(results)

    def check(self, *inputs: Any, rtol: float | None = None, atol: float | None = None, **options: Any) -> None:
        """Run the kernel as machine code, with bounds checked and on guarded memory, and compare with the function in
        Python.

        Inputs are arrays. Raises `AssertionError` where results differ by more than `rtol` and `atol` (1e-5 for
        float32, 1e-12 for float64, of the largest element), where an element of a result is not written, where bytes
        around an array are, or where the kernel stops.
        """
        from .custom_op_check import check_kernel

        if current_trace() is not None:
            raise TypeError(located(f"{self.name}.check compares numbers; call it outside of what is traced"))
        given = self._chosen(options)
        operands = [np.asarray(x, FLOAT32 if x.dtype == BFLOAT16 else None) for x in self._operands(inputs)]
        types = [ArrayType(x.shape, x.dtype) for x in operands]
        self._wanted(types, given)
        op = self.op
        assert op.kernel is not None
        check_kernel(op, operands, given, rtol, atol)

    def _chosen(self, options: dict[str, Any]) -> Options:
        """All options in their order. Raises `TypeError`."""
        for name in options:
            if name in self.arrays:
                raise TypeError(located(f"{self.name}: {name} is an array; give inputs by position"))
            if name not in self.options:
                near = similar(name, self.options) or f"there are {', '.join(self.options) or 'none'}"
                raise TypeError(located(f"{self.name} has no option {name}; {near}"))
        chosen: list[tuple[str, Any]] = []
        for name, default in self.options.items():
            value = options.get(name, default)
            if value is inspect.Parameter.empty:
                raise TypeError(located(f"{self.name}: the option {name} is missing; write {name}=..."))
            chosen.append((name, option_value(self.name, name, value)))
        return tuple(chosen)

    def _operands(self, inputs: Sequence[Any]) -> list[Any]:
        operands = [as_arraylike(x) for x in inputs]
        if not self.elementwise:
            return operands
        if len(operands) != len(self.arrays):
            listed = ", ".join(self.arrays)
            raise TypeError(located(f"{self.name} takes {len(self.arrays)} inputs ({listed}), got {len(operands)}"))
        # A Python number is of the common dtype of the arrays, as in NumPy.
        weak = [type(x) in (int, float) for x in inputs]
        strong = [x.dtype for x, is_weak in zip(operands, weak) if not is_weak]
        keys = [*strong, *(type(x) for x, is_weak in zip(inputs, weak) if is_weak)]
        if strong and any(weak):
            common = result_dtype(*keys)
            operands = [as_type(x, common) if is_weak else x for x, is_weak in zip(operands, weak)]
        shape = common_shape(self.name, operands)
        return [stretched(x, shape) for x in operands]

    def _wanted(self, types: Sequence[ArrayType], options: Options) -> tuple[ArrayType, ...]:
        """The types of the results. Raises `TracingError` where inputs, results and scratch are no parameters of the
        function's, or where results have other rows than `rows` says.
        """
        try:
            wanted = self.result(*types, options=options)
            working = () if self.scratch is None else self.scratch(*types, options=options)
            if self.flops is not None:
                self.flops(*types, options=options)
        except TypeError as error:
            raise TracingError(located(f"{self.name}: {error}")) from error.__cause__
        if self.elementwise:
            return wanted
        if len(wanted) + len(types) + len(working) != len(self.arrays):
            counts = [(len(wanted), "result"), (len(types), "input"), (len(working), "scratch array")]
            told = ", ".join(f"{n} {what}{'s' * (n != 1)}" for n, what in counts if n)
            listed = ", ".join(self.arrays)
            raise TracingError(located(f"{self.name}({listed}) has {len(self.arrays)} arrays, and there are {told}"))
        self._check_rows(types, wanted, options)
        return wanted

    def _check_rows(self, types: Sequence[ArrayType], wanted: Sequence[ArrayType], options: Options) -> None:
        """With one row more, the results have one row more."""
        if not self.rows or max(self.rows) >= len(types) or any(types[i].ndim == 0 for i in self.rows):
            return  # the op says so
        more = [_longer(t) if i in self.rows else t for i, t in enumerate(types)]
        found = self.result(*more, options=options)
        if any(t.ndim == 0 for t in wanted) or tuple(map(_longer, wanted)) != found:
            one, two = (", ".join(map(str, row)) for row in (wanted, found))
            where = f"of {types[self.rows[0]].shape[0]} rows {one}, of one row more {two}"
            raise TracingError(
                located(f"{self.name}: with rows={self.rows} a result has the rows of the inputs; {where}")
            )


def _longer(type: ArrayType) -> ArrayType:
    return ArrayType((type.shape[0] + 1, *type.shape[1:]), type.dtype)


def _parameters(name: str, function: Kernel) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The names of the arrays, and of the options with their defaults."""
    arrays: list[str] = []
    options: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(located(f"{name}: a kernel names its arrays and options one by one, got {parameter}"))
        if parameter.kind is parameter.KEYWORD_ONLY or parameter.default is not parameter.empty:
            options[parameter.name] = parameter.default
        else:
            arrays.append(parameter.name)
    return tuple(arrays), options


def _checked_name(name: Any) -> str:
    if not (isinstance(name, str) and name.isidentifier() and name.isascii()):
        raise TypeError(located(f"the name of a custom op is made of letters, digits and _, got {name!r}; write name="))
    if name in OPS:
        advice = f"write name={'my_' + name!r}"
        raise TypeError(located(f"there is a primitive named {name}, which texts of programs would mix up; {advice}"))
    return name


def _signature(op: CustomOp, result: Any) -> inspect.Signature:
    """What the op is called with: inputs are named as the function of the results names them."""
    names = op.arrays if op.elementwise else ()
    if callable(result) and not op.elementwise:
        given = inspect.signature(result).parameters.values()
        parameters = [p for p in given if p.name not in op.options and p.kind is not p.VAR_KEYWORD]
        if all(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters):
            names = tuple(p.name for p in parameters)
    kind = inspect.Parameter
    inputs = [kind(name, kind.POSITIONAL_ONLY) for name in names] or [kind("inputs", kind.VAR_POSITIONAL)]
    options = [kind(name, kind.KEYWORD_ONLY, default=default) for name, default in op.options.items()]
    return inspect.Signature([*inputs, *options])
