"""`evaluate`: a model's loss and metrics over all examples of some data, in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import numpy as np
import optree

from ..data.batches import leading_length
from ..data.loader import Loader
from ..ranks import one
from ..step.loaded import Loaded
from ..step.predictor import Predictor
from ..step.refusal import MemoryBudgetError
from ..step.step import Step
from ..tracing.keywords import tells_keywords
from ..tracing.tracer import Tracer, TracingError, located
from .batches_of import batches_of

Metric = Callable[[Any, Any], Any]
Metrics = Mapping[str, Metric] | Iterable[Metric] | Metric | None
"""Functions of a model and a batch, which return numbers: one for the batch, or one for each example. By name, or named
as the functions are."""

_KEPT = 8


@tells_keywords
def evaluate(step: Step | Loaded, data: Any, metrics: Metrics = None, averaged: bool = False) -> dict[str, float]:
    """Loss and metrics of a step's model over all examples of `data`, by name; nothing is trained.

    `data` is what `gl.fit` takes: a pytree of arrays, or a dataset, in batches of the step's size, a loader, or any
    iterable of batches. The model is in evaluation mode. A metric is a function `(model, batch)`, such as
    `gl.metrics.accuracy`, that returns a number of the batch, or one for each of its examples, or a dict of such.
    Results are means over examples, also where the last batch is smaller. Without `metrics` there are the loss and the
    metrics of the step's own loss function; with them the loss, and they. `averaged` takes the averages of parameters
    that the optimizer keeps.

    What `gl.load` returns is evaluated too, by `metrics` alone, for it has no loss function: one of these may be yours.
    Arrays and datasets come to it in batches of 256 examples at most.

    Batches that do not fit the step's budget are taken in halves. Raises `ValueError` for data without a batch, and
    `TypeError` for a metric that is none.
    """
    return evaluator_of(step, metrics, averaged)(data)


def evaluator_of(step: Step | Loaded, metrics: Metrics, averaged: bool = False) -> Evaluator:
    """What evaluates a step's model by these metrics. Its programs are kept for as long as the step is."""
    if not isinstance(step, (Step, Loaded)):
        what = "a step of gl.compile_step, or what gl.load returns, is evaluated"
        raise TypeError(located(f"{what}; got {type(step).__name__}"))
    named = named_metrics(metrics, has_loss=isinstance(step, Step))
    if not named and isinstance(step, Loaded):
        what = "what gl.load returns has no loss function"
        raise TypeError(located(f"{what}; give metrics, as metrics=[gl.metrics.accuracy], or a loss function as one"))
    # On the step itself: a program refers to its step, so that kept elsewhere it would keep the step alive.
    kept: dict[Any, Evaluator] = step.__dict__.setdefault("_evaluators", {})
    key = (*named.items(), averaged)
    if key not in kept:
        while len(kept) >= _KEPT:
            kept.pop(next(iter(kept)))
        kept[key] = Evaluator(step, named, averaged)
    return kept[key]


def named_metrics(metrics: Metrics, has_loss: bool = True) -> dict[str, Metric]:
    """Metrics by name. Raises `TypeError` for what is none, `ValueError` for two of one name; the loss has one too."""
    if metrics is None:
        return {}
    if isinstance(metrics, Mapping):
        found = list(metrics.items())
    else:
        listed = [metrics] if callable(metrics) else list(metrics)
        found = [(getattr(metric, "__name__", type(metric).__name__), metric) for metric in listed]
    for name, metric in found:
        if not callable(metric) or isinstance(metric, type):
            what = "a metric is a function (model, batch), such as gl.metrics.accuracy"
            raise TypeError(located(f"{what}; {name} is {metric!r}"))
    names = [name for name, _ in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or (has_loss and "loss" in names):
        raise ValueError(located(f"two metrics have the name {twice or 'loss'!r}; give a dict of functions by name"))
    return dict(found)


class Evaluator:
    """Means of loss and metrics over the examples of some data, by programs of their own."""

    def __init__(self, step: Step | Loaded, metrics: Mapping[str, Metric], averaged: bool) -> None:
        self._step = step
        loss_fn = step._loss_fn if isinstance(step, Step) else None

        def figures(model: Any, batch: Any) -> Any:
            found: dict[str, Any] = {}
            own: Any = {}
            if loss_fn is not None:
                result = loss_fn(model, batch)
                loss, own = result if isinstance(result, tuple) else (result, {})
                found["loss"] = _checked("loss", loss, batch)
            given = {name: metric(model, batch) for name, metric in metrics.items()} if metrics else own
            for path, leaf in zip(*optree.tree_flatten_with_path(cast(Any, given), none_is_leaf=True)[:2]):
                name = ".".join(map(str, path)) or "metric"
                if metrics or not np.ndim(leaf):
                    found[name] = _checked(name, leaf, batch)
            return found

        # That the last batch is smaller is no news.
        self._figures = Predictor(step, figures, False, step._next_key(), averaged, tells_of_shapes=False)

    def check(self, loader: Loader) -> list[str] | None:
        """Raise what is wrong with the metrics or the data, where a batch can be looked at beforehand. The names of the
        figures; `None` where it cannot.
        """
        if loader.repeatable:
            for batch in loader.epoch(0):
                return [str(name) for (name,) in self._figures.check(batch).paths()]
        return None

    def __call__(self, data: Any, after_batch: Callable[[], None] = lambda: None) -> dict[str, float]:
        """The means over all examples of `data`; `after_batch` is called after each batch."""
        sums: dict[str, float] = {}
        count = 0
        for rows, figures in self._of_batches(data, after_batch):
            count += rows
            for name, total in figures.items():
                sums[name] = sums.get(name, 0.0) + total
        if not count:
            raise ValueError(located("the data to evaluate on give no batch"))
        return {name: total / count for name, total in sums.items()}

    def _of_batches(self, data: Any, after_batch: Callable[[], None]) -> Iterable[tuple[int, dict[str, float]]]:
        """What `_of_batch` gives for each batch, in their order. Ranks share the batches, and tell each other."""
        ranks = self._step.ranks if isinstance(self._step, Step) else one()
        if self._figures.shards is not None:
            ranks = one()  # each function of the model is then of all ranks together
        mine: dict[int, tuple[int, dict[str, float]]] = {}
        for number, batch in enumerate(batches_of(self._step, data).epoch(0)):
            # Means over no examples are NaN.
            if leading_length(batch) and number % ranks.size == ranks.rank:
                mine[number] = self._of_batch(batch)
                after_batch()
        found = {number: figures for theirs in ranks.gather(mine) for number, figures in theirs.items()}
        return [found[number] for number in sorted(found)]

    def _of_batch(self, batch: Any) -> tuple[int, dict[str, float]]:
        """The number of examples, and the sum of each figure over them."""
        rows = leading_length(batch)
        try:
            figures = self._figures(batch)
        except MemoryBudgetError:
            if rows == 1:
                raise
            half = rows // 2
            parts = [self._of_batch(_rows(batch, rows, part)) for part in (slice(0, half), slice(half, rows))]
            return rows, {name: sum(figures[name] for _, figures in parts) for name in parts[0][1]}
        return rows, {name: float(a.sum()) if a.ndim else float(a) * rows for name, a in figures.items()}


def _rows(batch: Any, rows: int, part: slice) -> Any:
    """Some examples of a batch; what does not run over examples stays whole."""
    return optree.tree_map(lambda leaf: leaf[part] if np.ndim(leaf) and len(leaf) == rows else leaf, batch)


def _checked(name: str, value: Any, batch: Any) -> Any:
    """A figure of a batch. Raises `TracingError` unless it is one number, or one for each example."""
    if not isinstance(value, (Tracer, np.ndarray, np.generic, bool, int, float)):
        raise TracingError(located(f"the metric {name} is of type {type(value).__name__}; return a number"))
    array = value if isinstance(value, Tracer) else np.asarray(value)
    rows = leading_length(batch)
    if array.ndim > 1 or (array.ndim == 1 and array.shape[0] != rows):
        raise TracingError(
            located(
                f"the metric {name} has shape {array.shape}; return one number, or one for each of the {rows} examples"
            )
        )
    return array.astype("float32") if array.dtype == np.bool_ else array
