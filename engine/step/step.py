"""A compiled training step, and the parameters and optimizer state that it holds."""

from __future__ import annotations

import json
import os
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import optree

from ...ir import Array, ArrayType, Graph
from ...ir.printable import brief
from ...passes.memory.plan import Plan
from ...passes.target import Target
from ...runtime.backend import Backend, Memory, backend_of
from ...runtime.codegen.deferred_signals import deferred_signals
from ...runtime.codegen.fork_lock import fork_lock, interrupted
from ...runtime.free_memory import return_free_memory
from ..compile.compile_report import CompileReport, use_of
from ..compile.programs import Programs, tell_of_shapes
from ..nn import Module
from ..nn.settings import changes, difference, model_settings
from ..optim import Optimizer
from ..optim.schedules import plateau, rate
from ..report.schema import MemoryReport
from ..report.wording import listed
from ..saving.checkpoint_file import CheckpointError, CheckpointReader, check_names, open_checkpoint, save_arrays
from ..tracing.arrays import dense_arrays
from ..tracing.missing_names import of_a_step
from ..tracing.numbers import as_rate
from ..tracing.random import key_of_seed
from ..tracing.trace import path_name
from ..tracing.tracer import located
from .budget import Budget
from .plans import LossFunction, StepPlan, step_plans
from .predictor import Predictor
from .settings import check_state, settings_in_file, settings_of, warn_of_other_settings
from .step_graph import StepGraph

# In files. No module has an empty name, so no parameter's name begins like this.
_STATE_PREFIX = ".optimizer."
_OPTIMIZER_KEY = "gradloom.optimizer"
_SETTINGS_KEY = "gradloom.settings"


class _Signature:
    """The step for batches of one type."""

    def __init__(self, traced: StepGraph, planned: StepPlan, backend: Backend, arena: Memory) -> None:
        self.traced = traced
        self.report = planned.report
        self.executable = backend.build(planned.plan, arena)
        self.first = traced.batch_range.start
        self._find_outputs()

    @property
    def arena_bytes(self) -> int:
        """What it needs of the arena."""
        return self.executable.arena_bytes

    def use_arena(self, arena: Memory) -> None:
        """Share another arena."""
        self.executable.use_arena(arena)
        self._find_outputs()

    def _find_outputs(self) -> None:
        self.loss = self.executable.output_in_arena(self.traced.loss_index)
        self.metrics = [self.executable.output_in_arena(i) for i in self.traced.metrics_range]


class Step:
    """A compiled training step, with the parameters and the optimizer's state that it trains.

    `step(batch)` does one update and returns the loss as a NumPy scalar, or `(loss, metrics)`. A batch of other shapes,
    such as a last one with fewer rows, is compiled once more; all batches and the functions of `bind` share one arena.
    A batch of another structure or dtype is an error, and nothing has changed then; nor has it where an index (a label,
    a token) is out of range, which raises `IndexError`, or an integer is raised to a negative power, which raises
    `ValueError`. The mean over a batch of no rows is NaN, as in NumPy and PyTorch.

    Several threads may use a step: one runs at a time. A fork waits for the update that is being done. A signal handler
    or a finalizer that interrupts a step may read or save it, and gets a `RuntimeError` where it would train with it.
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
    ) -> None:
        self._model = model
        self._loss_fn = loss_fn
        self._optimizer = optimizer
        self._threads = threads
        self._target = target
        self._backend = backend_of(target)
        self._options = dict(options)
        self._warned: set[str] = set()
        self._lock = fork_lock()
        self._busy = False
        self._changing = False
        self._signatures: Programs[_Signature] = Programs(keep_first=True, dropped=self._dropped)
        self._floats = [type(leaf) is float for leaf in optree.tree_leaves(batch)]
        key = key_of_seed(seed)
        start = time.perf_counter()
        plans = step_plans(model, loss_fn, optimizer, batch, self._options, threads, self._warned, self._target)
        traced = plans.traced
        traced_at = time.perf_counter()
        planned = plans.within(budget)
        self._budget = Budget(budget.bytes_of(plans.unbounded_bytes))
        planned_at = time.perf_counter()
        self._tree = traced.batch_tree
        self._batch_types = traced.batch
        held = {**dict(model.stored_parameters()), **dict(model.stored_buffers())}
        self._parameters, self._buffers = (
            _own(self._backend, types, (held[name].initial(name, seed) for name, _ in types))
            for types in (traced.parameters, traced.buffers)
        )
        self._state = _own(self._backend, traced.state, traced.initial_state())
        self._steps = self._state["step"]
        self._lr = np.array(optimizer.learning_rate(0), np.float64)
        self._scheduled = callable(optimizer.lr)
        self._rate_set: float | None = None
        self._key = np.array(key, np.int64)
        self._arena = self._backend.allocate(planned.plan.arena_bytes)
        self._users_of_arena: weakref.WeakSet[Any] = weakref.WeakSet()
        self._first = self._add(traced, planned)
        self._model_settings, self._changes = model_settings(model), changes()
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

    def _add(self, traced: StepGraph, planned: StepPlan) -> _Signature:
        signature = _Signature(traced, planned, self._backend, self._arena_of(planned.plan))
        self._users_of_arena.add(signature)
        carried = [*self._parameters.values(), *self._buffers.values(), *self._state.values(), self._lr, self._key]
        for i, array in enumerate(carried):
            signature.executable.bind_input(i, array)
        self._signatures.add(tuple((t.shape, t.dtype) for _, t in traced.batch), signature)
        return signature

    def _dropped(self, program: Any) -> None:
        """Give the memory of a program back: the arena's too, where no other needs as much."""
        self._users_of_arena.discard(program)
        largest = max(user.arena_bytes for user in self._users_of_arena)
        if largest < self._arena.nbytes:
            self._share(largest)

    def _share(self, nbytes: int) -> None:
        self._arena = self._backend.allocate(nbytes)
        for user in self._users_of_arena:
            user.use_arena(self._arena)

    def _arena_of(self, plan: Plan) -> Memory:
        """The arena that all programs of this step share, large enough for one more."""
        if self._arena.nbytes < plan.arena_bytes:
            self._share(plan.arena_bytes)
        return self._arena

    def __call__(self, batch: Any) -> Any:
        """One update. Returns the loss, or `(loss, metrics)` if the loss function does."""
        arrays = dense_arrays(self._leaves(batch), lambda: [name for name, _ in self._batch_types])
        key = tuple([(a.shape, a.dtype) for a in arrays])
        with self._lock:
            if self._busy:
                raise interrupted("a step")
            self._busy = True
            try:
                if self._changes != changes():
                    self._check_settings()
                signature = self._signatures.get(key) or self._new_signature(arrays)
                if self._scheduled and self._rate_set is None:
                    self._lr[()] = self._own_rate()
                signature.executable.run(arrays, first_input=signature.first)
                loss = signature.loss[()]
                if signature.traced.metrics_tree is None:
                    return loss
                # Scalars come as NumPy scalars, arrays as copies: the arena is overwritten by the next step.
                metrics = [m[()] if m.ndim == 0 else m.copy() for m in signature.metrics]
            finally:
                self._busy = False
            return loss, optree.tree_unflatten(signature.traced.metrics_tree, metrics)

    def _check_settings(self) -> None:
        """Raise `RuntimeError` where the model was changed in a way that the step does not follow."""
        now = changes()
        changed = difference(self._model_settings, model_settings(self._model))
        if changed:
            raise RuntimeError(
                f"the model was changed after the step was compiled, which does not follow: {changed}; step.bind(fn) "
                "runs it in evaluation whatever its mode, and to train it otherwise compile a new step, which takes up "
                "what this one has learned by new.set_parameters(step.parameters())"
            )
        self._changes = now

    def __reduce__(self) -> NoReturn:
        """A step is neither pickled nor copied."""
        raise TypeError(
            "a Step cannot be pickled or copied: it is machine code and memory of this process; write step.save(path), "
            "compile another one by gl.compile_step with the same arguments, and other.load(path)"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name != "learning_rate":
            advice = "learning_rate and, by set_parameters, the parameters can be set; all else is fixed"
            if name in ("lr", "rate"):
                advice = f"write step.learning_rate = {value!r}"
            raise AttributeError(located(f"step.{name} = {value!r} would have no effect on a compiled step; {advice}"))
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"'Step' object has no attribute {name!r}")
        raise AttributeError(located(f"a Step has no attribute {name!r}; {of_a_step(name)}"))

    def _leaves(self, batch: Any) -> list[Any]:
        """Raises `TypeError` for a batch of another structure."""
        try:
            leaves = self._tree.flatten_up_to(batch)  # takes a microsecond less than to find the structure
        except ValueError:
            leaves = None
        # Among what is no array there may be containers.
        if leaves is None or set(map(type, leaves)) != {np.ndarray}:
            if optree.tree_structure(batch) != self._tree:
                raise TypeError(_other_structure(self._batch_types, self._tree, batch))
            return optree.tree_leaves(batch)
        return leaves

    def _new_signature(self, arrays: list[Array]) -> _Signature:
        """Compile for a batch of other shapes. Raises `TypeError` for other dtypes."""
        for (name, wanted), array in zip(self._batch_types, arrays):
            if array.dtype != wanted.dtype or array.ndim != wanted.ndim:
                got = f"{array.dtype} of shape {array.shape}"
                fix = f"; write {name}.astype('{wanted.dtype}')" if array.dtype != wanted.dtype else ""
                raise TypeError(
                    f"{name} is {got}, the step was compiled for {wanted.dtype} of shape {wanted.shape}{fix}"
                )
        start = time.perf_counter()
        like = [0.0 if is_float else ArrayType(a.shape, a.dtype) for a, is_float in zip(arrays, self._floats)]
        batch = optree.tree_unflatten(self._tree, like)
        before = self._signatures.keys()[-1]
        options, loss_fn = self._options, self._loss_fn
        plans = step_plans(
            self._model, loss_fn, self._optimizer, batch, options, self._threads, self._warned, self._target
        )
        added = self._add(plans.traced, plans.within(self._budget))
        names, now = [name for name, _ in self._batch_types], [a.shape for a in arrays]
        tell_of_shapes(
            "the step", names, [s for s, _ in before], now, time.perf_counter() - start, self._signatures.made
        )
        return added

    @property
    def report(self) -> MemoryReport:
        """The memory of the step for the batch it was compiled with."""
        return self._first.report

    @property
    def compile_report(self) -> CompileReport:
        """Where the time went that compiling took, for the batch it was compiled with."""
        return self._compile_report

    @property
    def graph(self) -> Graph:
        """The step as it was traced, for the batch it was compiled with."""
        return self._first.traced.graph

    @property
    def steps(self) -> int:
        """Updates done so far."""
        return int(self._steps)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update. Setting it holds from then on, in place of any schedule; setting it to
        `None` goes back to the optimizer's own rate or schedule, at the step where training stands.
        """
        return self._own_rate() if self._rate_set is None else self._rate_set

    def _own_rate(self) -> float:
        """The rate of the next update by the optimizer's own number or schedule."""
        held = self._state.get(plateau.RATE)  # a schedule that follows the loss is state of the step
        steps = int(self._steps)
        return self._optimizer.learning_rate(steps) if held is None else rate(float(held), steps)

    @learning_rate.setter
    def learning_rate(self, value: float | None) -> None:
        number = None if value is None else as_rate(value)
        if number is None and value is not None:
            raise ValueError(
                f"a learning rate is a number of 0 or more, or None for the optimizer's own, got {value!r}"
            )
        with self._lock:
            # A schedule may raise: before anything changes.
            self._lr[()] = self._own_rate() if number is None else number
            self._rate_set = number

    def parameters(self) -> dict[str, Array]:
        """A copy of every parameter, by name."""
        return self._copies(self._parameters)

    def buffers(self) -> dict[str, Array]:
        """A copy of every buffer (running statistics), by name."""
        return self._copies(self._buffers)

    def state(self) -> dict[str, Array]:
        """A copy of the optimizer's state by name, such as `exp_avg.0.weight`; `step` counts the updates done."""
        return self._copies(self._state)

    def _copies(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        with self._lock:
            before = self._begin_reading()
            try:
                return {name: array.copy() for name, array in arrays.items()}
            finally:
                self._busy = before

    def _begin_reading(self) -> bool:
        """Whether this thread is in the middle of something, which reading may interrupt; from now on it is."""
        if self._changing:
            raise interrupted("a step")
        before, self._busy = self._busy, True
        return before

    def _change(self, change: Callable[[], None]) -> None:
        """Do what a signal cannot interrupt, and what a finalizer can neither read nor change meanwhile."""
        with deferred_signals(), self._lock:
            if self._busy:
                raise interrupted("a step")
            self._busy = self._changing = True
            try:
                change()
            finally:
                self._busy = self._changing = False

    def set_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Replace all parameters, and the buffers among what is given, by name: a PyTorch state dict may come whole.

        Raises `CheckpointError` that lists what is missing, extra or misshapen; nothing has changed then.
        """
        if not isinstance(parameters, Mapping):
            what = type(parameters).__name__
            raise TypeError(located(f"parameters are a dict of arrays by name, as of step.parameters(), got {what}"))
        given = {name: np.asarray(array) for name, array in parameters.items()}
        tied = self._model.tied_names()
        meant = {tied.get(name, name) for name in given}
        replaced = self._parameters | {name: array for name, array in self._buffers.items() if name in meant}
        fitting = check_names(_types(replaced), given, tied)
        self._change(lambda: _replace(replaced, fitting))

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
        """Write parameters, buffers and the optimizer's state to a safetensors file, whole or not at all.

        Parameters and buffers stand under their own names, as PyTorch writes them, the state under `.optimizer.`: with
        the seed's key, and the learning rate if it was set. The file has a checksum, and says which settings the step
        has; steps that are equal write equal bytes. Raises `CheckpointError` where the file cannot be written; one that
        was there before is then untouched.
        """
        settings = settings_of(self._optimizer, self._options, self.report)
        own = {_OPTIMIZER_KEY: type(self._optimizer).__name__, _SETTINGS_KEY: json.dumps(settings)}
        with self._lock:
            before = self._begin_reading()
            try:
                arrays = {**self._parameters, **self._buffers}
                arrays |= {_STATE_PREFIX + name: array for name, array in self._state.items()}
                arrays[_STATE_PREFIX + "key"] = self._key
                if self._rate_set is not None:
                    arrays[_STATE_PREFIX + "lr"] = self._lr
                save_arrays(path, arrays, {**(metadata or {}), **own})
            finally:
                self._busy = before

    def load(self, path: str | os.PathLike[str]) -> dict[str, str]:
        """Take up parameters, buffers and state from a file of `save`, and return the metadata given there.

        Training then goes on to the same bits as without the interruption. Where it cannot, because the step that wrote
        the file had another optimizer's settings, schedule, `accumulate`, clipping or tiles of the batch, a
        `CheckpointWarning` says what differs. A file without optimizer state, such as a PyTorch state dict saved as
        safetensors, sets parameters and buffers, and the optimizer begins with fresh state. Arrays are read into their
        places, with no other copy in memory. Raises `CheckpointError` where the file is damaged, does not fit, or holds
        a learning rate or a number of steps that cannot be; nothing has changed then.
        """
        if not isinstance(path, (str, os.PathLike)):
            instead = "; write step.set_parameters(...) for arrays by name" if isinstance(path, Mapping) else ""
            raise TypeError(located(f"step.load takes the path of a file, got {type(path).__name__}{instead}"))
        with open_checkpoint(path) as file:
            file.verify()
            metadata = dict(file.metadata)
            saved_by = metadata.pop(_OPTIMIZER_KEY, None)
            saved_with = settings_in_file(path, metadata.pop(_SETTINGS_KEY, "{}"))
            self._take_up(file, os.fsdecode(path), saved_by)
        now = settings_of(self._optimizer, self._options, self.report)
        warn_of_other_settings(os.fsdecode(path), saved_with, now, self._rate_set is not None)
        return metadata

    def _take_up(self, file: CheckpointReader, path: Any, saved_by: str | None) -> None:
        stored = {name: array for name, array in file.arrays.items() if not name.startswith(_STATE_PREFIX)}
        state = {name[len(_STATE_PREFIX) :]: a for name, a in file.arrays.items() if name.startswith(_STATE_PREFIX)}
        source = f"the arrays of {path}"
        fitting = check_names(_types({**self._parameters, **self._buffers}), stored, self._model.tied_names(), source)
        kind = type(self._optimizer).__name__
        targets = self._parameters | self._buffers
        if state:
            if saved_by is not None and saved_by != kind:
                raise CheckpointError(f"{source} come from {brief(saved_by)}, the step's optimizer is {kind}")
            targets |= {_STATE_PREFIX + name: array for name, array in self._state.items()}
            targets[_STATE_PREFIX + "key"] = self._key
            wanted = _types({**self._state, "key": self._key} | ({"lr": self._lr} if "lr" in state else {}))
            new_state = check_names(wanted, state, source=f"the optimizer state of {path}")
            given = {name: new_state[name].read() for name in ("step", "lr") if name in new_state}
            check_state(path, given)
            fitting |= {_STATE_PREFIX + name: array for name, array in new_state.items()}
        else:
            given = {}
        # A schedule may raise: before anything changes.
        rate = float(given["lr"]) if "lr" in given else self._optimizer.learning_rate(int(given.get("step", 0)))

        def change() -> None:
            file.read_into(targets, fitting)
            if not state:
                traced = self._first.traced
                for (name, _), value in zip(traced.state, traced.initial_state()):
                    self._state[name][...] = value
            self._rate_set = float(given["lr"]) if "lr" in given else None
            self._lr[()] = rate

        self._change(change)

    def bind(self, fn: Callable[..., Any]) -> Predictor:
        """`fn(model, *args)` in evaluation mode with the step's own live parameters: a compiled callable of `*args`."""
        if not callable(fn) or fn is self._model:
            what = "the model itself" if fn is self._model else type(fn).__name__
            message = f"step.bind takes a function of the model and other arguments, got {what}"
            raise TypeError(located(f"{message}; write step.bind(lambda model, x: model(x))"))
        return Predictor(self, fn)


def _other_structure(types: Sequence[tuple[str, ArrayType]], tree: optree.PyTreeSpec, batch: Any) -> str:
    """What to say of a batch that is not of the structure the step was compiled for."""
    got = [path_name(("batch", *path)) for path in optree.tree_paths(batch)]
    missing = {name: t for name, t in types if name not in got}
    extra = [name for name in got if name not in dict(types)]
    for name, t in missing.items():
        if any(other.startswith(f"{name}.") for other in extra):
            return f"{name} is a container, the step was compiled for one array; write np.asarray(..., '{t.dtype}')"
    if not missing and not extra and {tree.type, type(batch)} == {tuple, list}:
        given, kind = ("list", "tuple") if tree.type is tuple else ("tuple", "list")
        return f"the batch is a {given}, the step was compiled for a {kind}; write step({kind}(batch))"
    if not missing and not extra:
        return f"the batch is {optree.tree_structure(batch)}, the step was compiled for {tree}"
    parts = [f"{what} {listed(names)}" for what, names in (("without", missing), ("with", extra)) if names]
    return f"the batch comes {' and '.join(parts)}; the step was compiled for {listed(name for name, _ in types)}"


def _own(
    backend: Backend, types: tuple[tuple[str, ArrayType], ...], initial: Iterable[Array]
) -> dict[str, Array]:
    """Memory of our own for named arrays, each beginning at a cache line. The initial values are made one by one, so
    that they are never there twice.
    """
    result: dict[str, Array] = {}
    for (name, t), value in zip(types, initial):
        array = backend.allocate(t.nbytes).view(t.dtype).reshape(t.shape)
        array[...] = value
        result[name] = array
    return result


def _types(arrays: Mapping[str, Array]) -> dict[str, ArrayType]:
    return {name: ArrayType(array.shape, array.dtype) for name, array in arrays.items()}


def _replace(arrays: Mapping[str, Array], new: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        array[...] = new[name]
