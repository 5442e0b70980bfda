"""A compiled training step, and the parameters and optimizer state that it holds."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Never, NoReturn, overload

import numpy as np
import optree

from ...ir import Array, ArrayType, Graph
from ...passes.ranks.shares import Shares
from ...passes.target import Target
from ...runtime.backend import backend_of
from ...runtime.codegen.fork_lock import interrupted
from ...runtime.free_memory import return_free_memory
from ..compile.compile_progress import compile_progress
from ..compile.compile_report import CompileReport, use_of
from ..compile.programs import Programs, Shape, tell_of_shapes
from ..diagnosis.diagnosis import Diagnosis, diagnosis_of
from ..diagnosis.first_nonfinite import first_nonfinite
from ..diagnosis.statistics import Statistics
from ..nn import Module
from ..nn.settings import changes, compiled_by, difference, model_settings
from ..optim import Optimizer
from ..ranks import Ranks
from ..ranks.ranks import of_all
from ..report.schema import MemoryReport
from ..tracing.arrays import dense_arrays
from ..tracing.debug import show
from ..tracing.missing_names import of_a_step
from ..tracing.random import key_of_seed
from ..tracing.random.keys import key_of_draws
from ..tracing.tracer import located
from .batch_type import BatchType
from .buckets import Bucket, Buckets, Fit
from .budget import Budget
from .data_parallel import DataParallel, check_same_program
from .export_onnx import export_onnx
from .gradients import Gradients
from .host_memory import ANY_HOST_MEMORY, HostMemory
from .learning_rate import LearningRates
from .live_arrays import LiveArrays, own_memory
from .narrow_parameters import Masters
from .notebook import step_html, step_line
from .plans import LossFunction, StepPlan, step_plans, wide_options
from .predictor import Predictor, bound_functions
from .program import StepProgram
from .shapes import ShapePolicy
from .shards import Shards
from .sharing import joined, lives_of, shared_names, taken_in
from .step_arrays import StepArrays
from .step_graph import StepGraph, trace_step


class Step(StepArrays):
    """A compiled training step, with the parameters and the optimizer's state that it trains.

    `step(batch)` does one update and returns the loss as a NumPy scalar, or `(loss, metrics)`. A batch of other shapes,
    such as a last one with fewer rows, is compiled once more, or padded (`shapes="bucket"`); all batches and the
    functions of `bind` share one arena.
    A batch of another structure or dtype is an error, and nothing has changed then; nor has it where an index (a label,
    a token) is out of range, which raises `IndexError`, or an integer is raised to a negative power, which raises
    `ValueError`. The mean over a batch of no rows is NaN, as in NumPy and PyTorch.

    Several threads may use a step, or steps that share: one runs at a time. A fork waits for the update that is being
    done. A signal handler or a finalizer that interrupts a step may read or save it, and gets a `RuntimeError` where it
    would train with it.
    """

    def __init__(
        self,
        model: Module,
        loss_fn: LossFunction,
        optimizer: Optimizer,
        batch: Any,
        budget: Budget,
        threads: int,
        options: Mapping[str, Any],
        seed: int,
        target: Target,
        share: Step | Sequence[Step] | None = None,
        host: HostMemory = ANY_HOST_MEMORY,
        shapes: ShapePolicy | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self._model = model
        self._loss_fn = loss_fn
        self._optimizer = optimizer
        self._threads = threads
        self._ranks = ranks
        self._target = target
        self._backend = backend_of(target)
        self._options = dict(options)
        self._warned: set[str] = set()
        self._measured: tuple[Statistics, list[float], int, float, float] | None = None
        self._shapes = shapes or ShapePolicy()
        # The first stays, beside those that the limit is of: its report is that of the step.
        self._signatures: Programs[StepProgram] = Programs(keep_first=True, dropped=self._drop, most=self._shapes.most)
        lives = lives_of(share, self._backend)
        shared = shared_names(model, lives)
        key = key_of_seed(seed)
        start = time.perf_counter()
        plans = step_plans(model, loss_fn, optimizer, batch, self._options, threads, self._warned, self._target, host)
        traced_at = time.perf_counter()
        planned = plans.within(budget)
        traced = planned.traced
        # What lies in host memory does so for all programs.
        self._host = replace(host, held=planned.plan.transfers.numbers)
        self._budget = replace(budget, nbytes=budget.bytes_of(plans.unbounded_bytes), share=None)
        planned_at = time.perf_counter()
        self._check_agreement(planned)
        self._batch_type = BatchType(batch, traced.batch_tree, traced.batch)
        self._batch = optree.tree_unflatten(traced.batch_tree, [type for _, type in traced.batch])
        self._key = np.array(key, np.int64)
        self._bound = 0
        if not lives:
            self._backend.check_room(planned.report.total_bytes + sum(type.nbytes for _, type in traced.batch))
        with joined(lives, self._backend) as live:
            self._live = live
            stored = dict(traced.parameters)
            sharded, begin = self._sharded_parameters(), hashlib.blake2b(digest_size=16)
            cut = (lambda whole: sharded.cut(_seen(begin, whole))) if sharded.types else None
            self._parameters, self._buffers = taken_in(live, model, shared, self._backend, seed, stored, cut)
            on_host = [i - traced.state_range.start for i in planned.plan.transfers.numbers]
            self._state = own_memory(self._backend, traced.state, traced.initial_state(), on_host)
            types = {name: p.type for name, p in model.stored_parameters()}
            self._masters = Masters(types, self._parameters, self._state, self._sharded_state(traced))
            self._masters.fill({name: p.initial for name, p in model.stored_parameters()}, seed)
            self._rates = LearningRates(traced.optimizer, self._state)
            self._first = self._add(traced, planned)
        self._check_start(begin)
        self._gradients = Gradients(self)
        own = [type.shape for _, type in traced.batch]
        self._buckets = (
            Buckets("the step", own, self._traced, self._padded_program, ranks, traced.leaves_of_rows)
            if self._pads
            else None
        )
        self._own = frozenset(live.names[name] for name, _ in model.all_stored())
        tied = model.tied_names()
        self._names = {name: tied.get(name, name) for name, _ in model.persistent_stored()}
        self._model_settings, self._changes = model_settings(model), changes()
        compiled_by(model, self)
        return_free_memory()  # plans have left much behind: what is resident is what was planned
        executable = self._first.executable
        self._compile_report = CompileReport(
            traced_at - start,
            planned_at - traced_at,
            executable.kernel_seconds,
            time.perf_counter() - planned_at - executable.kernel_seconds,
            tuple(executable.kernels),
            tuple(map(use_of, executable.kernel_users)),
        )

    def _add(self, traced: StepGraph, planned: StepPlan, key: Hashable = None) -> StepProgram:
        live = self._live
        signature = StepProgram(traced, planned, self._backend, live.arena_for(planned.plan), self._ranks)
        live.add_user(signature)
        for i, array in enumerate(self._carried()):
            signature.executable.bind_input(i, array)
        self._signatures.add(key or tuple((t.shape, t.dtype) for _, t in traced.batch), signature)
        return signature

    def _check_agreement(self, planned: StepPlan) -> None:
        """Raise `RanksError` on all ranks where they do not have the same program, for the same batches."""
        if self._ranks is None:
            return
        batch = ", ".join(f"{name} {type}" for name, type in planned.traced.batch)
        with self._ranks.waiting(f"the others to be given {batch} too"):
            self._ranks.agree(batch, "batch")
            check_same_program(self._ranks, planned.plan)

    def _check_start(self, digest: Any) -> None:
        """Raise `RanksError` on all ranks where they do not begin with the same numbers: `digest` is of parameters that
        each has a shard of.
        """
        if self._ranks is None or self._ranks.size == 1:
            return
        self._ranks.agree(int(self._key), "seed")
        whole = {} if self._sharded_parameters().types else self._parameters
        for array in (*whole.values(), *self._buffers.values()):
            _seen(digest, array)
        self._ranks.agree(digest.hexdigest(), "set of initial parameters")

    def _carried(self) -> list[Array]:
        """The arrays that a program of the step reads and writes in place: its inputs before the batch."""
        state, rates = self._state.values(), self._rates.arrays.values()
        return [*self._parameters.values(), *self._buffers.values(), *state, *rates, self._key]

    def _drop(self, program: Any) -> None:
        self._live.drop_user(program)

    def __call__(self, batch: Any = ..., *others: Never, **named: Never) -> Any:
        """One update. Returns the loss, or `(loss, metrics)` if the loss function does."""
        if others or named or batch is ...:
            count = (batch is not ...) + len(others) + len(named)
            raise TypeError(located(self._batch_type.as_one(count)))
        arrays = dense_arrays(self._batch_type.leaves(batch), lambda: self._batch_type.names, self._backend.of_device)
        key = tuple([(a.shape, a.dtype) for a in arrays])
        live = self._live
        with live.lock:
            if live.moved_to is None:
                return self._run(live, key, arrays)
        self._current()  # another step has begun to share with this one
        return self(batch)

    def _run(self, live: LiveArrays, key: Any, arrays: list[Array]) -> Any:
        if live.busy:
            raise interrupted("a step")
        live.busy = True
        try:
            if self._changes != changes():
                self._check_settings()
            signature, fit = self._program_for(key, arrays)
            self._rates.follow_schedules(self._backend.undone)
            try:
                given = arrays if fit is None else fit.arrays(arrays)
                if self._ranks is None:
                    signature.executable.run(given, first_input=signature.first)
                else:
                    with self._ranks.waiting(f"step {self.steps + 1}"):
                        signature.executable.run(given, first_input=signature.first)
            except FloatingPointError:
                raise self._not_finite(key, arrays) from None
            self._rates.count_update()
            show(*signature.lines(fit))
            loss = signature.loss[()]
            if signature.measured:
                self._measure(signature, fit, loss)
            if signature.traced.metrics_tree is None:
                return loss
            metrics = signature.metric_arrays(fit)
        finally:
            live.busy = False
        return loss, optree.tree_unflatten(signature.traced.metrics_tree, metrics)

    def _program_for(self, key: Any, arrays: list[Array]) -> tuple[StepProgram, Fit[StepGraph] | None]:
        """The program for a batch of these leaves, whose types are the `key`; it is compiled where there is none."""
        found = self._signatures.get(key)
        if self._buckets is not None and (self._buckets.differ(arrays) or found is None):
            found = None
            self._batch_type.like(arrays)  # raises `TypeError` for other dtypes
            padded = self._buckets.find(key, arrays)
            if padded is not None:
                return padded
        return found or self._new_signature(arrays), None

    def _padded_program(self, bucket: Bucket[StepGraph]) -> StepProgram:
        found = self._signatures.get(bucket.key)
        return found or self._compiled(bucket.shape.shapes, bucket.traced, bucket.key)

    def _measure(self, signature: StepProgram, fit: Fit[StepGraph] | None, loss: Any) -> None:
        """Keep what the step that was just done measured of its layers; words come when they are asked for."""
        rate = float(next(iter(self._rates.arrays.values())))
        values = [float(value) for value in signature.measured]
        statistics = (signature.traced if fit is None else fit.real).statistics
        assert statistics is not None
        self._measured = (statistics, values, self.steps, float(loss), rate)

    def first_nonfinite(self, batch: Any) -> str:
        """What would make the first NaN or infinity of the loss, or of what is updated, if `step(batch)` were called
        now: the operation, with its line and module, or the input that holds one. "" where all of it would be finite.

        The step is run by NumPy, op by op; nothing has changed then. Ranks call it together: each looks at its rows,
        and all say the same.
        """
        arrays = dense_arrays(self._batch_type.leaves(batch), lambda: self._batch_type.names, self._backend.of_device)
        key = tuple([(a.shape, a.dtype) for a in arrays])
        with self._current().running() as live:
            self._live = live
            self._rates.follow_schedules(self._backend.undone)
            return self._first_nonfinite(key, arrays)

    def _first_nonfinite(self, key: Any, arrays: list[Array]) -> str:
        """The step is traced for the batch as it is where it has no program of its own."""
        found = self._signatures.get(key)
        if found is None:
            self._check_shapes([a.shape for a in arrays])
        traced = self._traced([a.shape for a in arrays]) if found is None else found.traced
        inputs = [*self._carried(), *arrays]
        if traced.shares is None:
            return first_nonfinite(traced.graph, inputs, traced.checked)
        return self._first_of_ranks(traced, traced.shares, inputs)

    def _first_of_ranks(self, traced: StepGraph, shares: Shares, inputs: list[Array]) -> str:
        """What the first rank says that has such a number, of the parts of the batch that it has."""
        why = ""
        for part in range(shares.local):
            mine = shares.part(inputs, part)
            number = shares.local * self.ranks.rank + part
            if found := first_nonfinite(traced.graph, mine, traced.checked, number):
                why = f"in part {part} of the {shares.local} of its rows: {found}" if shares.local > 1 else found
                break
        said = self.ranks.gather(why)
        return next((f"rank {rank}: {why}" for rank, why in enumerate(said) if why), "")

    def _not_finite(self, key: Any, arrays: list[Array]) -> FloatingPointError:
        """The error of a step that is not finite and has changed nothing, so that it can be run again to see why."""
        why = self._first_nonfinite(key, arrays)
        why = why or "op by op it is finite, so a number is near the largest that its dtype has"
        return of_all(FloatingPointError(f"step {self.steps + 1} is not finite and has changed nothing: {why}"))

    def _check_settings(self) -> None:
        """Raise `RuntimeError` where the model was changed in a way that the step does not follow."""
        now = changes()
        changed = difference(self._model_settings, model_settings(self._model))
        if changed:
            raise RuntimeError(
                located(
                    f"the model was changed after the step was compiled, which does not follow: {changed}; "
                    "step.bind(fn) runs it in evaluation whatever its mode, and to train it otherwise compile a new "
                    "step, which takes up what this one has learned by new.set_parameters(step.parameters())"
                )
            )
        self._changes = now

    def __reduce__(self) -> NoReturn:
        """A step is neither pickled nor copied."""
        raise TypeError(
            located(
                "a Step cannot be pickled or copied: it is machine code and memory of this process; write "
                "step.save(path), compile another one by gl.compile_step with the same arguments, and other.load(path)"
            )
        )

    def __repr__(self) -> str:
        return f"<Step of {step_line(self)}>"

    def _repr_html_(self) -> str:
        return step_html(self)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in ("learning_rate", "learning_rates"):
            advice = "learning_rate and, by set_parameters, the parameters can be set; all else is fixed"
            if name in ("lr", "rate"):
                advice = f"write step.learning_rate = {value!r}"
            raise AttributeError(located(f"step.{name} = {value!r} would have no effect on a compiled step; {advice}"))
        object.__setattr__(self, name, value)

    if not TYPE_CHECKING:  # a type checker finds what is missing by itself

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(f"'Step' object has no attribute {name!r}")
            public = [known for known in dir(self) if not known.startswith("_")]
            raise AttributeError(located(f"a Step has no attribute {name!r}; {of_a_step(name, public)}"))

    def _new_signature(self, arrays: list[Array]) -> StepProgram:
        """Compile for a batch of other shapes. Raises `TypeError` for other dtypes."""
        self._batch_type.like(arrays)
        shapes = [a.shape for a in arrays]
        self._check_shapes(shapes)
        return self._compiled(shapes)

    def _compiled(self, shapes: Sequence[Shape], traced: StepGraph | None = None, key: Hashable = None) -> StepProgram:
        """Compile for batches of other `shapes`, and tell of it; `traced` where that is done."""
        start = time.perf_counter()
        batch = self._batch_of(shapes)
        parallel: DataParallel | None = self._options.get("ranks")
        if parallel is not None:
            parallel.warn_of_whole([type.shape for _, type in self._first.traced.batch], shapes)
        last = self._signatures.get(self._signatures.keys()[-1]) or self._first
        before = [type.shape for _, type in last.traced.batch]
        options, host = self._options, self._host
        of_step = self._model, self._loss_fn, self._optimizer
        count, most = len(self._signatures), self._signatures.most
        with compile_progress(f"the step for other shapes, program {count} of at most {most}"):
            plans = step_plans(*of_step, batch, options, self._threads, self._warned, self._target, host, traced)
            planned = plans.within(self._budget)
            self._check_agreement(planned)
            added = self._add(planned.traced, planned, key)
        seconds = time.perf_counter() - start
        name = "the step" if key is None else "the padded step"
        tell_of_shapes(name, self._batch_type.names, before, shapes, seconds, self._signatures)
        return added

    def _check_shapes(self, shapes: Sequence[Shape]) -> None:
        own = [type.shape for _, type in self._first.traced.batch]
        self._shapes.check(self._batch_type.names, own, shapes)

    def _traced(self, shapes: Sequence[Shape], in_one_part: bool = False) -> StepGraph:
        """The step as it is traced for batches of these shapes."""
        of_step = self._model, self._loss_fn, self._optimizer
        options = wide_options(self._options | ({"accumulate": 1} if in_one_part else {}))
        return trace_step(*of_step, self._batch_of(shapes), **options, warned=self._warned)

    def _batch_of(self, shapes: Sequence[Shape]) -> Any:
        """A batch of specs, with ranks that of all of them."""
        parallel: DataParallel | None = self._options.get("ranks")
        if parallel is not None:
            shapes = parallel.whole(shapes)
        types = (type for _, type in self._first.traced.batch)
        return self._batch_type.like([ArrayType(shape, t.dtype) for shape, t in zip(shapes, types, strict=True)])

    @property
    def batch(self) -> Any:
        """The batch that the step was compiled for, as specs."""
        return self._batch

    @property
    def report(self) -> MemoryReport:
        """The memory of the step for the batch it was compiled with."""
        return self._first.report

    @property
    def diagnosis(self) -> Diagnosis:
        """How activations, gradients and updates went through the layers in the last step, of a step that was compiled
        with `diagnose=True`. Raises `RuntimeError` for one that was not, and before the first step.
        """
        measured = self._measured
        if self._first.traced.statistics is None:
            raise RuntimeError(located("the step was compiled without diagnose=True, and measures nothing"))
        if measured is None:
            raise RuntimeError(located("no step was done yet that a diagnosis could be of; call step(batch) first"))
        sizes = {name: parameter.type.size for name, parameter in self._model.stored_parameters()}
        return diagnosis_of(*measured[:2], sizes, *measured[2:])

    @property
    def compile_report(self) -> CompileReport:
        """Where the time went that compiling took, for the batch it was compiled with."""
        return self._compile_report

    @property
    def graph(self) -> Graph:
        """The step as it was traced, for the batch it was compiled with."""
        return self._first.traced.graph

    def gradients(self, batch: Any) -> dict[str, Array]:
        """The gradients of the loss by the names of the parameters that are trained, as the next `step(batch)` would
        compute them: with its draws, of the whole batch, before clipping. Zeros for what the loss does not read.

        Nothing is updated, no running statistic either. The program is compiled when it is first called, and works in
        the step's arena. Ranks call it together, each with its rows, and get the same: gradients of the batch of all.

        Raises `MemoryBudgetError` where it does not fit the budget of the step, and for a batch what a step raises.
        """
        arrays = dense_arrays(self._batch_type.leaves(batch), lambda: self._batch_type.names, self._backend.of_device)
        key = tuple([(a.shape, a.dtype) for a in arrays])
        with self._current().running() as live:
            self._live = live
            if self._changes != changes():
                self._check_settings()
            return self._gradients(key, arrays)

    @overload
    def bind(
        self, fn: Callable[..., Any], /, *, training: bool = False, key: int | None = None, averaged: bool = False
    ) -> Predictor: ...
    @overload
    def bind(
        self, *fns: Callable[..., Any], training: bool = False, key: int | None = None, averaged: bool = False
    ) -> tuple[Predictor, ...]: ...
    def bind(
        self, *fns: Callable[..., Any], training: bool = False, key: int | None = None, averaged: bool = False
    ) -> Predictor | tuple[Predictor, ...]:
        """`fn(model, *args)` with the step's live parameters and buffers: a compiled callable of `*args`; a tuple of
        such for several functions.

        The model is in evaluation; with `training` it is in training, where dropout draws and batch norm takes the
        statistics of its batch, and moves the running ones. What the function assigns, `module.name = array`, is from
        then on the content of that buffer or parameter, for training too: a cache of keys and values, a counter, a
        target that moves after the model. Nothing is copied where it is written in place.

        Every call draws anew: from `key`, a whole number of 0 or more, and the number of calls before. Functions of the
        same key draw the same, call by call. Without one the draws follow from the seed of the step. A call
        `predict(x, key=3)` draws as the first call of a function with that key does.

        With `averaged` it computes with the averages that `gl.optim.EMA` or `gl.optim.SWA` keeps, the outermost where
        there are several, and with the live buffers. Raises `ValueError` where the optimizer keeps none.
        """
        return bound_functions(self, fns, training, key, averaged)

    def export_onnx(self, path: str | os.PathLike[str], fn: Callable[..., Any], *args: Any) -> None:
        """Write `fn(model, *args)`, in evaluation and with the values of now, as an ONNX file of opset 18.

        The file computes in the dtypes of the parameters, also where the step is of another precision.
        `fn` and its arguments, arrays or specs, are those of `bind`. Inputs are named after the arguments, parameters
        keep their names, and nodes are named after the modules. The first length of the first argument, and of all
        that have as many entries, may be any in the file where the function is the same program for several; else all
        shapes are those of the arguments. The file is checked by `onnx.checker`. What is more than 2 GiB lies beside
        it, in `path` with `.data` behind.

        Raises `OnnxError` for an operation that ONNX does not have, with the line that it comes from, for a function
        that draws random numbers, prints, or assigns buffers; `ImportError` without the extra `onnx`.
        """
        export_onnx(self, path, fn, args)

    @property
    def _pads(self) -> bool:
        """Whether batches, and arguments of bound functions, are padded to a few shapes."""
        return self._shapes.shapes == "bucket"

    @property
    def _parameter_shards(self) -> Shards | None:
        """How ranks hold the parameters, where each has a shard."""
        parallel: DataParallel | None = self._options.get("ranks")
        return None if parallel is None else parallel.parameter_shards

    @property
    def _precision(self) -> str:
        return self._options.get("precision", "fp32")

    def _traced_for(self, shapes: Sequence[Shape]) -> StepGraph:
        """What the program for batches of such shapes is made of, or the first one: a budget may have rounded."""
        types = (type.dtype for _, type in self._first.traced.batch)
        found = self._signatures.get(tuple(zip(shapes, types)))
        return (found or self._first).traced

    @property
    def _held_bytes(self) -> int:
        """What it holds from call to call."""
        return self.report.parameter_bytes + self.report.state_bytes

    def _next_key(self) -> np.int64:
        """The key of the draws of one more bound function."""
        self._bound += 1
        return key_of_draws(int(self._key), self._bound)


def _seen(digest: Any, array: Array) -> Array:
    """The array, after a digest has taken it in."""
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return array
