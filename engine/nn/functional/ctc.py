"""Connectionist temporal classification: the likelihood of labels whose places in time are not known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.activations import float32_inside
from ...tracing.scan import scan
from ...tracing.tracer import ShapeError, TracingError, located
from ...tracing.transforms import stop_gradient
from .reduction import Reduction, check_floats, check_reduction, reduced
from .transformations import checked_index


@float32_inside
def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: Reduction = "mean",
    zero_infinity: bool = False,
) -> Any:
    """-log of the probability of the labels, summed over all alignments: of one label or `blank` to each time.

    Graves, Fernández, Gomez and Schmidhuber 2006, "Connectionist temporal classification".

    `log_probs` is (T, N, C), of which the first `input_lengths[n]` times count, and whose probabilities sum to 1 over
    C, as `log_softmax` gives them; `targets` is (N, S), of which the first `target_lengths[n]` count, or all labels of
    the batch one after another. A single sequence is (T, C), with labels (S,) and lengths that are numbers. "mean" is
    that of the losses divided by the number of labels. Labels with no alignment cost infinity, or 0 with
    `zero_infinity`, and have derivatives of 0. The derivative by `log_probs` is torch's: p less the probability that a
    time is aligned to a class, which is the derivative along all changes that keep the sum of p.

    Raises `ShapeError` for shapes and lengths that do not fit. In a program a label that is no class, or a length that
    is too long, stops the run with `IndexError`.
    """
    check_reduction(reduction)
    x = check_floats("ctc_loss", "log_probs", log_probs)
    if x.ndim not in (2, 3):
        raise ShapeError(located(f"ctc_loss: log_probs is (T, N, C), or (T, C), got {described(x)}"))
    is_single = x.ndim == 2
    x = xp.expand_dims(x, 1) if is_single else x
    times, batch, classes = x.shape
    if not 0 <= blank < classes:
        raise ValueError(located(f"ctc_loss: blank is one of {classes} classes, got {blank}"))
    targets = _labels(targets)
    most = targets.shape[-1]
    inputs = _lengths("input_lengths", input_lengths, batch, times)
    lengths = _lengths("target_lengths", target_lengths, batch, most)
    targets = _padded(targets, lengths, batch)
    places = np.arange(targets.shape[1])
    kept = xp.where(places < xp.expand_dims(lengths, -1), targets, blank)
    label = xp.astype(checked_index(kept, classes, "ctc_loss: labels"), "int32")
    total = _log_likelihood(x, label, inputs, lengths, blank)
    loss = _with_torchs_derivative(total, x, inputs, zero_infinity)
    if reduction == "mean":
        loss = loss / xp.astype(xp.maximum(lengths, 1), loss.dtype)
    return reduced(xp.squeeze(loss, 0) if is_single and reduction == "none" else loss, reduction)


def _labels(targets: Any) -> Any:
    targets = as_arraylike(targets)
    if targets.dtype.kind not in "iu":
        raise TracingError(located(f"ctc_loss: targets are integers, got {described(targets)}; write .astype('int64')"))
    if targets.ndim not in (1, 2):
        raise ShapeError(located(f"ctc_loss: targets are (N, S), or all labels as (S,), got {described(targets)}"))
    return xp.astype(targets, "int64")


def _lengths(name: str, given: Any, batch: int, most: int) -> Any:
    """Lengths as int64 (batch,), checked to be from 0 to `most`, in a program as it runs."""
    lengths = as_arraylike(given)
    if lengths.dtype.kind not in "iu":
        raise TracingError(located(f"ctc_loss: {name} are integers, got {described(lengths)}"))
    if tuple(lengths.shape) != (batch,) and not (batch == 1 and lengths.ndim == 0):
        raise ShapeError(
            located(f"ctc_loss: {name} has one number for each of {batch} sequences, got {described(lengths)}")
        )
    lengths = xp.astype(xp.reshape(lengths, (batch,)), "int64")
    if not isinstance(lengths, np.ndarray):
        return checked_index(lengths, most + 1, f"ctc_loss: {name}")
    if lengths.size and not 0 <= lengths.min() <= lengths.max() <= most:
        raise ShapeError(located(f"ctc_loss: {name} are from 0 to {most}, got {lengths.tolist()}"))
    return lengths


def _padded(targets: Any, lengths: Any, batch: int) -> Any:
    """Labels (N, S), with S of 1 or more, where those of a batch may come one after another."""
    if targets.ndim == 2 and targets.shape[0] != batch:
        raise ShapeError(located(f"ctc_loss: targets of {batch} sequences are ({batch}, S), got {described(targets)}"))
    if targets.shape[-1] == 0:
        return np.zeros((batch, 1), np.int64)
    if targets.ndim == 2:
        return targets
    ends = xp.cumulative_sum(lengths)
    longest = targets.shape[0]
    if isinstance(ends, np.ndarray):
        if ends.size and ends[-1] > longest:
            raise ShapeError(
                located(f"ctc_loss: target_lengths add up to {ends[-1]}, and targets has {longest} labels")
            )
        longest = max(int(lengths.max(initial=1)), 1)
    place = xp.expand_dims(ends - lengths, -1) + np.arange(longest)
    return xp.take(targets, xp.minimum(place, targets.shape[0] - 1), axis=0)


def _log_likelihood(x: Any, label: Any, inputs: Any, lengths: Any, blank: int) -> Any:
    """log p(labels) for each sequence: the forward algorithm, on logarithms.

    After each time there are two probabilities for each k: of what ends with label k, and of what ends with a blank
    behind it. Behind a blank, or behind another label, comes the next label; behind any, itself again.
    """
    times, batch, _ = x.shape
    count = label.shape[1]
    of_blank = x[:, :, blank : blank + 1]
    of_label = xp.take_along_axis(x, xp.broadcast_to(xp.astype(label, "int64"), (times, batch, count)), axis=2)
    nothing = xp.full((batch, 1), -math.inf, dtype=x.dtype)
    repeated = xp.concat([xp.full((batch, 1), True), label[:, 1:] == label[:, :-1]], axis=1)

    def step(carry: Any, now: Any) -> Any:
        blanks, labels = carry
        time, at_blank, at_label = now
        before = xp.where(repeated, -math.inf, xp.concat([nothing, labels[:, :-1]], axis=1))
        new_blanks = _added(blanks, xp.concat([nothing, labels], axis=1)) + at_blank
        new_labels = _added(labels, blanks[:, :-1], before) + at_label
        counts = xp.expand_dims(time < inputs, -1)
        return (xp.where(counts, new_blanks, blanks), xp.where(counts, new_labels, labels)), None

    first = xp.concat([xp.zeros((batch, 1), dtype=x.dtype), xp.full((batch, count), -math.inf, dtype=x.dtype)], axis=1)
    begin = (first, xp.full((batch, count), -math.inf, dtype=x.dtype))
    (blanks, labels), _ = scan(step, begin, (np.arange(times), of_blank, of_label))
    length = xp.expand_dims(lengths, -1)
    with_blank = xp.sum(xp.where(np.arange(count + 1) == length, blanks, 0), axis=1)
    with_label = xp.sum(xp.where(np.arange(1, count + 1) == length, labels, 0), axis=1)
    return _added(with_blank, xp.where(lengths == 0, -math.inf, with_label))


def _added(*logs: Any) -> Any:
    """log of the sum of probabilities with these logarithms; of none it is -inf, with derivatives of 0."""
    largest = logs[0]
    for other in logs[1:]:
        largest = xp.maximum(largest, other)
    top = stop_gradient(xp.where(largest == -math.inf, 0, largest))
    total = sum(xp.exp(one - top) for one in logs)
    none = total == 0
    return xp.where(none, -math.inf, xp.log(xp.where(none, 1, total)) + top)


def _with_torchs_derivative(total: Any, x: Any, inputs: Any, zero_infinity: bool) -> Any:
    """-total, with the derivative of Σ p added to its own, and none of both where no alignment is possible."""
    counted = np.arange(x.shape[0])[:, None] < inputs
    # What is no logarithm of a probability must not overflow: infinity less infinity would be no loss.
    mass = xp.sum(xp.where(counted, xp.sum(xp.exp(xp.minimum(x, 60)), axis=2), 0), axis=0)
    loss = (mass - stop_gradient(mass)) - total
    return xp.where(total == -math.inf, 0 if zero_infinity else math.inf, loss)
