"""`load`: a model with the parameters of a file, to compute with; no optimizer, and no state of one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from ...ir import Array
from ...passes.target import Target
from ...runtime.backend import backend_of
from ..compile.targets import target_of, with_cores, with_precision, worker_count
from ..nn import Module
from ..ranks import one
from ..saving.checkpoint_file import check_names, open_checkpoint
from ..saving.renaming import Rename, renamed
from ..tracing.keywords import tells_keywords
from ..tracing.precisions import of_functions
from ..tracing.random import key_of_seed
from ..tracing.random.keys import key_of_draws
from ..tracing.tracer import located
from .averages import Averages
from .budget import Budget, budget_of
from .checkpoint import STATE_PREFIX
from .export_onnx import export_onnx
from .live_arrays import LiveArrays, types_of
from .predictor import Predictor, bound_functions
from .refusal import MemoryBudgetError
from .sharing import joined, taken_in
from .weights import replace, replaced_by_state_dict


class Loaded:
    """A model with parameters and buffers of its own. `loaded.bind(fn)` computes with them, as `step.bind(fn)` does."""

    _pads = False

    def __init__(self, model: Module, budget: Budget, threads: int, target: Target, seed: int, precision: str) -> None:
        self._model = model
        self._precision = precision
        self._parameter_shards = None
        self.ranks = one()
        self._threads = threads
        self._backend = backend_of(target)
        self._target = self._backend.narrowed(target)
        self._budget = budget
        self._warned: set[str] = set()
        self._key = np.array(key_of_seed(seed), np.int64)
        self._bound = 0
        self._check_budget()
        with joined([], self._backend) as live:
            self._live = live
            self._parameters, self._buffers = taken_in(live, model, {}, self._backend, seed)

    def _check_budget(self) -> None:
        limit = self._budget.nbytes
        if limit is not None and self._held_bytes > limit:
            raise MemoryBudgetError(
                located(f"the parameters and buffers take {self._held_bytes:,} bytes; the budget is {limit:,}"),
                self._held_bytes,
            )

    @property
    def _held_bytes(self) -> int:
        stored = [*self._model.stored_parameters(), *self._model.stored_buffers()]
        return sum(each.type.nbytes for _, each in stored)

    def _current(self) -> LiveArrays:
        return self._live

    def _averages(self) -> Averages:
        raise ValueError(located("averaged=True is of a step whose optimizer keeps averages; a file has what it has"))

    def take_up(self, path: str | os.PathLike[str], strict: bool, rename: Rename | None) -> None:
        """Read parameters and buffers into their places. Raises `CheckpointError`; nothing has changed then."""
        with open_checkpoint(path) as file:
            file.verify()
            source = f"the arrays of {os.fsdecode(path)}"
            stored = {name: array for name, array in file.arrays.items() if not name.startswith(STATE_PREFIX)}
            if rename is not None:
                stored = {new: stored[name] for new, name in renamed(list(stored), rename, source).items()}
            targets = self._parameters | self._buffers
            optional = [name for name, buffer in self._model.stored_buffers() if not buffer.persistent]
            fitting = check_names(types_of(targets), stored, self._live.tied, source, optional, strict)
            self._live.change(lambda: file.read_into(targets, fitting))

    def take_up_arrays(self, given: Mapping[str, Any], strict: bool, rename: Rename | None) -> None:
        """Copy parameters and buffers into their places. Raises `CheckpointError`; nothing has changed then."""
        if rename is not None:
            given = {
                new: given[name] for new, name in renamed(list(given), rename, "the arrays that are given").items()
            }
        held, places = self._parameters | self._buffers, self._live.names
        named = {name: held[places.get(name, name)] for name, _ in self._model.persistent_stored()}
        replace(self._live, replaced_by_state_dict(given, named, strict)[0])

    def parameters(self) -> dict[str, Array]:
        """A copy of every parameter, by name."""
        return self._live.copies(lambda live: self._parameters)

    def buffers(self) -> dict[str, Array]:
        """A copy of every buffer, by name."""
        return self._live.copies(lambda live: self._buffers)

    def bind(
        self, *fns: Callable[..., Any], training: bool = False, key: int | None = None, averaged: bool = False
    ) -> Predictor | tuple[Predictor, ...]:
        """`fn(model, *args)` as a compiled callable of `*args`; a tuple of such for several functions. As `Step.bind`
        says; `predict.plan(*args)` has its memory before it runs.
        """
        return bound_functions(self, fns, training, key, averaged)

    def export_onnx(self, path: str | os.PathLike[str], fn: Callable[..., Any], *args: Any) -> None:
        """Write `fn(model, *args)` in evaluation as an ONNX file; as `Step.export_onnx` says."""
        export_onnx(self, path, fn, args)

    def _next_key(self) -> np.int64:
        self._bound += 1
        return key_of_draws(int(self._key), self._bound)

    def __reduce__(self) -> NoReturn:
        """Neither pickled nor copied."""
        raise TypeError(
            located("a loaded model cannot be pickled or copied: it is memory of this process; load its file again")
        )

    def __repr__(self) -> str:
        return f"<{type(self._model).__name__} with {self._held_bytes:,} bytes of parameters and buffers>"


@tells_keywords
def load(
    model: Module,
    path: str | os.PathLike[str] | Mapping[str, Any],
    *,
    memory: float | str | None = None,
    target: str | Target = "cpu",
    threads: int | None = None,
    strict: bool = True,
    rename: Rename | None = None,
    seed: int = 0,
    precision: str = "fp32",
    cores: int | None = None,
) -> Loaded:
    """A model with the parameters and buffers of a file of `step.save`, of a PyTorch state dict as safetensors, or of
    a dict of arrays or tensors by name.

    `gl.load(model, "run.safetensors").bind(lambda model, x: model(x))` is a compiled function in evaluation mode;
    `gl.load(model, model.state_dict())` has the model's initial values. It has a plan of its own, and `memory` bounds
    parameters, buffers and its arena: bytes, or text such as "200MB". No optimizer and no state of one is read.
    `rename` and `strict` are those of `Step.load`, `target`, `threads`, `cores` and `precision` those of
    `gl.compile_step`. What is missing without `strict` is initialized from `seed`.

    Raises `CheckpointError` where the file is damaged or does not fit, `MemoryBudgetError` where the parameters alone
    do not fit `memory`, and `TargetError` for a target that this machine cannot run.
    """
    if not isinstance(model, Module):
        raise TypeError(located(f"gl.load takes a model and the path of a file, got {type(model).__name__} first"))
    if not isinstance(path, (str, os.PathLike, Mapping)):
        raise TypeError(located(f"gl.load takes the path of a file, or arrays by name, got {type(path).__name__}"))
    budget = budget_of(memory)
    if budget.share is not None:
        what = f"memory is bytes, such as '200MB', got {memory!r}"
        raise ValueError(located(f"{what}: there is no step to take a part of"))
    precision = of_functions(precision)
    machine = with_cores(with_precision(target_of(target), precision), cores)
    loaded = Loaded(model, budget, worker_count(threads, machine), machine, seed, precision)
    if isinstance(path, Mapping):
        loaded.take_up_arrays(path, bool(strict), rename)
    else:
        loaded.take_up(path, bool(strict), rename)
    return loaded
