"""Functions of a model that are bound to the live parameters and buffers of a step."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import optree

from ...ir import Array, ArrayType, DType, type_of
from ...ir.html import block
from ...passes.memory.plan import Plan
from ...passes.pipeline import plan_graph
from ...passes.remat.frontier import Choice
from ...runtime.backend import Program
from ...runtime.codegen.fork_lock import interrupted
from ..compile.compile_progress import compile_phase, compile_progress
from ..compile.compiling import compiling
from ..compile.program_key import structure_key
from ..compile.programs import Programs, Shape, programs_html, tell_of_shapes
from ..nn import Module
from ..report.make_report import make_report
from ..report.schema import HeldReport, MemoryReport
from ..tracing.arrays import dense, dense_arrays
from ..tracing.debug import show
from ..tracing.random import key_of_seed
from ..tracing.trace import path_name
from ..tracing.tracer import located
from .buckets import Bucket, Buckets, Fit
from .live_arrays import types_of
from .predict_graph import PredictGraph, trace_predict
from .refusal import MemoryBudgetError
from .shards import Shards

if TYPE_CHECKING:
    from .loaded import Loaded
    from .step import Step


_Key = tuple[Any, tuple[bool, ...], tuple[tuple[Shape, DType], ...]]
"""The structure of arguments, which of them are Python floats, and their types."""


@dataclass(frozen=True, eq=False)
class _Bound:
    """A function of the model for arguments of one type."""

    executable: Program
    first: int
    """Place of the first argument among the inputs."""
    out_types: list[tuple[tuple[int, ...], DType]]
    traced: PredictGraph
    draws: bool
    """Whether it reads the key."""


class Predictor:
    """A function of a model, compiled for each signature of its arguments.

    It works in the step's arena, which grows where that is too small. What it draws, it draws from `key` and the number
    of calls before: every call draws anew, and two functions with the same key draw the same.
    """

    def __init__(
        self,
        step: Step | Loaded,
        fn: Callable[..., Any],
        training: bool,
        key: np.int64,
        averaged: bool = False,
        tells_of_shapes: bool = True,
    ) -> None:
        self._step = step
        self._tells_of_shapes = tells_of_shapes
        self._fn = fn
        self._training = training
        self._averages = step._averages() if averaged else None
        self._parameters = step._parameters if self._averages is None else self._averages.arrays
        self._base = np.array(key, np.int64)
        self._calls = 0
        self._key = np.array(key, np.int64)
        self._signatures: Programs[_Bound] = Programs(dropped=lambda bound: step._live.drop_user(bound.executable))
        self._buckets: dict[Hashable, Buckets[PredictGraph, _Bound]] = {}
        """By all of a signature but the shapes."""

    def __repr__(self) -> str:
        return f"<{self._name} bound to {type(self._step._model).__name__}, {self._signatures}>"

    def _repr_html_(self) -> str:
        programs = ((key[2], bound.executable.arena_bytes) for key, bound in self._signatures.items())
        return block(f"{self._name}, bound to {type(self._step._model).__name__}", programs_html(programs))

    @property
    def _name(self) -> str:
        return getattr(self._fn, "__name__", type(self._fn).__name__)

    def __reduce__(self) -> NoReturn:
        """A bound function is neither pickled nor copied."""
        raise TypeError(
            located(
                "a function of step.bind cannot be pickled or copied: it computes with the parameters of its Step; "
                "write step.save(path), and bind the function to a step that loads it"
            )
        )

    def __call__(self, *args: Any, key: int | None = None, **named: Any) -> Any:
        """The result, as NumPy arrays. Arguments are pytrees of arrays, by position or name; numbers are arrays of
        shape (), Python floats weak ones, as in NumPy. With a `key`, a whole number of 0 or more, this call draws from
        that alone, as the first call of a function that is bound with this key.

        Where it raises, nothing that the function assigns has changed.
        """
        args = self._in_order(args, named) if named else args
        drawn = None if key is None else key_of_seed(key)
        leaves, tree = optree.tree_flatten(args)  # pyright: ignore[reportArgumentType]
        of_device = self._step._backend.of_device
        try:
            arrays = dense_arrays(leaves, lambda: [path_name(("argument", *path)) for path in tree.paths()], of_device)
        except TypeError:
            if any(isinstance(leaf, Module) for leaf in leaves):
                what = "a bound function has its model already"
                raise TypeError(located(f"{what}; call it with the other arguments alone, as predict(x)")) from None
            raise
        floats = [type(leaf) is float for leaf in leaves]
        signature = (structure_key(tree), tuple(floats), tuple([(a.shape, a.dtype) for a in arrays]))
        live = self._step._live
        with live.lock:
            if live.moved_to is not None:
                self._step._current()
                return self(*args, key=key)
            if live.busy:
                raise interrupted("a step, or a function that is bound to it,")
            live.busy = True
            try:
                bound, fit = self._program_for(signature, tree, arrays, floats)
                results = [np.empty(shape, dtype) for shape, dtype in bound.out_types]
                if self._averages is not None:
                    self._averages.follow()
                if bound.draws:
                    self._set_key(drawn)
                bound.executable.run(arrays if fit is None else fit.arrays(arrays), results, bound.first)
                self._calls += drawn is None
                traced = bound.traced
                if fit is not None:
                    traced, results = fit.real, [fit.cut(i, result) for i, result in enumerate(results)]
                count = traced.result_tree.num_leaves
                show(traced.prints, results[count:])
            finally:
                live.busy = False
        return optree.tree_unflatten(traced.result_tree, results[:count])

    def _in_order(self, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """All arguments by position. Raises `TypeError` for one that the function does not have, or not by position."""
        try:
            given = inspect.signature(self._fn).bind(None, *args, **named)
        except TypeError as error:
            raise TypeError(located(f"{getattr(self._fn, '__name__', 'the bound function')}: {error}")) from None
        if given.kwargs:
            names = ", ".join(given.kwargs)
            raise TypeError(located(f"a bound function has arguments with places; {names} cannot be given one"))
        return given.args[1:]

    def _set_key(self, drawn: np.int64 | None) -> None:
        if drawn is None:
            np.add(self._base, self._calls, out=self._key)  # around the ends of int64, without a warning
        else:
            self._key[()] = drawn

    def _program_for(
        self, key: _Key, tree: optree.PyTreeSpec, arrays: Sequence[Array], floats: Sequence[bool]
    ) -> tuple[_Bound, Fit[PredictGraph] | None]:
        """The program for arguments like these, padded where the step pads; it is compiled where there is none."""
        found = self._signatures.get(key)
        if found is not None:
            return found, None
        kind = key[0], key[1], tuple([dtype for _, dtype in key[2]])
        if kind in self._buckets:
            padded = self._buckets[kind].find(key, arrays)
            if padded is not None:
                return padded
        elif self._step._pads:
            self._buckets[kind] = self._new_buckets(key, tree)
        like = [0.0 if is_float else ArrayType(a.shape, a.dtype) for a, is_float in zip(arrays, floats)]
        return self._new_program(key, tree, lambda: self._traced(tree, like)), None

    def _new_buckets(self, key: _Key, tree: optree.PyTreeSpec) -> Buckets[PredictGraph, _Bound]:
        """The padded programs for arguments that are like those of the `key`, but for their shapes."""
        of_tree, floats, types = key

        def types_of(shapes: Sequence[Shape]) -> list[ArrayType]:
            return [ArrayType(shape, dtype) for shape, (_, dtype) in zip(shapes, types, strict=True)]

        def trace(shapes: Sequence[Shape], shorter: bool) -> PredictGraph:
            return self._traced(tree, [0.0 if is_float else t for t, is_float in zip(types_of(shapes), floats)])

        def program(bucket: Bucket[PredictGraph]) -> _Bound:
            padded = tuple([(t.shape, t.dtype) for t in types_of(bucket.shape.shapes)])
            place = (of_tree, floats, padded, bucket.key)
            return self._signatures.get(place) or self._new_program(place, tree, lambda: bucket.traced)

        return Buckets(self._name, [shape for shape, _ in types], trace, program)

    def _new_program(self, key: Any, tree: optree.PyTreeSpec, trace: Callable[[], PredictGraph]) -> _Bound:
        """Compile a program, and tell of it where it is for other shapes than one before; `key` ends in a fourth part
        where it is padded.
        """
        start = time.perf_counter()
        others = self._signatures.keys()
        like = [other for other in others if other[:2] == key[:2]]
        with compile_progress(self._name):
            bound = self._compile(trace())
        self._signatures.add(key, bound)
        if like and self._tells_of_shapes:
            names = [path_name(("argument", *path)) for path in tree.paths()]
            before, now = ([shape for shape, _ in types] for types in (like[-1][2], key[2]))
            name = self._name if len(key) == 3 else f"the padded {self._name}"
            tell_of_shapes(name, names, before, now, time.perf_counter() - start, self._signatures)
        return bound

    def plan(self, *args: Any) -> MemoryReport:
        """The memory of a call with arguments like these, arrays or specs, before anything is compiled or allocated.

        Raises what a call raises for such arguments.
        """
        leaves, tree = optree.tree_flatten(args)  # pyright: ignore[reportArgumentType]
        like = [leaf if isinstance(leaf, ArrayType) or type(leaf) is float else type_of(dense(leaf)) for leaf in leaves]
        step = self._step
        with compiling():
            planned = self._planned(self._traced(tree, like))
        held = [
            HeldReport(name, kind, array.nbytes)
            for kind, arrays in (("parameter", self._parameters), ("buffer", step._buffers))
            for name, array in arrays.items()
        ]
        return make_report(Choice(planned, 0.0), held, planned.arena_bytes, step._budget.nbytes)

    def check(self, *args: Any) -> optree.PyTreeSpec:
        """Raise what the function raises for arguments like these; it is traced, and nothing is compiled. The structure
        of what it returns.
        """
        leaves, tree = optree.tree_flatten(args)  # pyright: ignore[reportArgumentType]
        with compiling():
            like = [leaf if type(leaf) is float else type_of(dense(leaf)) for leaf in leaves]
            return self._traced(tree, like).result_tree

    def _traced(self, tree: optree.PyTreeSpec, like: Sequence[Any]) -> PredictGraph:
        step = self._step
        specs: Any = optree.tree_unflatten(tree, like)
        compile_phase("tracing")
        stored = types_of(self._parameters)
        of_step = step._warned, self._training, step._precision, stored, self.shards, self._sharded_names
        return trace_predict(step._model, self._fn, specs, *of_step)

    @property
    def shards(self) -> Shards | None:
        """How ranks hold what it computes with, where that is in shards: all of them call it together then."""
        of_step = self._step._parameter_shards
        if of_step is not None or self._averages is None or not self._averages.sharded.types:
            return of_step
        return self._averages.sharded.shards

    @property
    def _sharded_names(self) -> Collection[str]:
        """What of it is in shards, by name."""
        if self._step._parameter_shards is not None or self._averages is None:
            return self._parameters
        return self._averages.sharded.types

    def _planned(self, traced: PredictGraph) -> Plan:
        """The function as it was traced, planned. Raises `MemoryBudgetError` where it does not fit."""
        step = self._step
        written = [traced.graph.inputs[i].name for i in traced.graph.aliases.values() if i in traced.parameter_range]
        if self._averages is not None and written:
            raise TypeError(
                located(
                    f"a function bound with averaged=True assigns {', '.join(written)}: the averages are the "
                    "optimizer's alone; bind it without averaged=True"
                )
            )
        compile_phase("planning")
        planned = plan_graph(traced.graph, step._threads, target=step._target)
        total = step._held_bytes + planned.arena_bytes
        limit = step._budget.nbytes
        if limit is not None and total > limit:
            raise MemoryBudgetError(
                located(
                    f"this function needs {planned.arena_bytes:,} bytes of arena, {total:,} with parameters and state; "
                    f"the budget is {limit:,}: give it smaller arrays, part by part"
                ),
                total,
            )
        return planned

    def _compile(self, traced: PredictGraph) -> _Bound:
        """The function as it was traced. Raises `MemoryBudgetError` where its arena does not fit."""
        step, live = self._step, self._step._live
        planned = self._planned(traced)
        compile_phase("kernels")
        executable = step._backend.build(planned, live.arena_for(planned), step.ranks)
        live.add_user(executable)
        for i, array in enumerate([*self._parameters.values(), *step._buffers.values(), self._key]):
            executable.bind_input(i, array)
        types = [(t.shape, t.dtype) for t in traced.result_types]
        key = traced.graph.inputs[traced.key_index]
        draws = any(key in node.inputs for node in traced.graph.nodes)
        return _Bound(executable, traced.argument_range.start, types, traced, draws)


def bound_functions(
    owner: Step | Loaded, fns: Sequence[Callable[..., Any]], training: bool, key: int | None, averaged: bool
) -> Predictor | tuple[Predictor, ...]:
    """What `bind` of a step, or of a loaded model, returns for these functions."""
    if not fns:
        raise TypeError(located("step.bind takes a function; write step.bind(lambda model, x: model(x))"))
    model = owner._model
    for fn in fns:
        if not callable(fn) or isinstance(fn, Module):
            what = "the model itself" if fn is model else f"a {type(fn).__name__}"
            message = f"step.bind takes a function of the model and other arguments, got {what}"
            path = next((p for p, module in model.named_modules() if module is fn and p), "")
            called = f"model.get_submodule({path!r})(x)" if path else "model(x)"
            raise TypeError(located(f"{message}; write step.bind(lambda model, x: {called})"))
    keys = [owner._next_key() if key is None else key_of_seed(key) for _ in fns]
    bound = tuple(Predictor(owner, fn, bool(training), own, bool(averaged)) for fn, own in zip(fns, keys))
    return bound[0] if len(bound) == 1 else bound
