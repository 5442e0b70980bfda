"""What stands out in a diagnosis, in plain words: rules that hold their tongue about healthy networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from ..report.wording import listed
from .diagnosis import Diagnosis, LayerDiagnosis

_DEPTH = 4
"""Layers that a curve has at least: what two or three layers do is no trend."""
_TOTAL = 1e3
"""By so much a curve rises or falls over its depth before it is told."""
_PER_LAYER = 1.25
"""And by so much in each layer, in the mean: a slow drift over many layers trains well."""
_SATURATED = 0.5
_DEAD = 0.9
_SURE = 8
"""Elements for which a unit must be 0 before it counts as dead: of fewer many are by chance."""
_LARGE_UPDATE = 0.2
_SMALL_UPDATE = 1e-6
_RISEN = 0.25
_LEAP = 10
"""By so much of itself a loss rises over a run before it is told, as one batch differs from another; and between."""

Curve = Sequence[tuple[LayerDiagnosis, float]]


def findings(diagnosis: Diagnosis) -> list[str]:
    """The findings, what matters most first."""
    broken = list(_nonfinite(diagnosis))
    if broken:
        return [*broken, *_forward(diagnosis)]
    curves = _curves(diagnosis)
    rest = [*_rectifiers(diagnosis), *_saturation(diagnosis)]
    return [*curves, *rest, *([] if curves else _updates(diagnosis))]


def _curves(diagnosis: Diagnosis) -> list[str]:
    """What the curves over depth say. Where they do, the gradients are too small or too large for the size of an update
    to say anything of the learning rate.
    """
    return [*_signal(diagnosis), *_forward(diagnosis)]


def summary(diagnosis: Diagnosis) -> str:
    """What to say where nothing stands out."""
    curve = _weighted(diagnosis, lambda layer: layer.signal)
    if len(curve) < 2:
        return "nothing stands out"
    norms = [value for _, value in curve]
    return f"nothing stands out: the gradient signal is {min(norms):.2g} to {max(norms):.2g} over all layers"


# Values that are no numbers.


def _nonfinite(diagnosis: Diagnosis) -> Iterator[str]:
    forward = next((layer for layer in diagnosis.layers if layer.nonfinite), None)
    if forward is not None:
        yield (
            f"non-finite values first at {_name(forward)}: {forward.nonfinite:.2%} of what it gives; "
            "compile_step(..., check_finite=True) names the operation and the line"
        )
        return
    if not math.isfinite(diagnosis.loss):
        yield f"the loss is {diagnosis.loss}, and all layers give finite values: it is the loss function that does not"
        return
    backward = [layer for layer in diagnosis.layers if layer.signal is not None and not math.isfinite(layer.signal)]
    if backward:
        yield f"the gradient signal is not finite from {_name(backward[-1])} down: a derivative there is not"
        return
    for layer in diagnosis.layers:
        norms = (layer.weight_norm, layer.gradient_norm, layer.update_norm)
        if any(norm is not None and not math.isfinite(norm) for norm in norms):
            yield f"the parameters of {_name(layer)}, their gradient or their update are not finite"
            return


# Curves over depth.


def _weighted(diagnosis: Diagnosis, of: Callable[[LayerDiagnosis], float | None]) -> Curve:
    """The layers that multiply by a matrix, with a figure of each."""
    found = [(layer, of(layer)) for layer in diagnosis.layers if layer.weight_shape and layer.shape]
    return [(layer, value) for layer, value in found if value is not None]


def _signal(diagnosis: Diagnosis) -> Iterator[str]:
    curve = _weighted(diagnosis, lambda layer: layer.signal)
    none = [layer for layer, value in curve if value == 0 and layer.gradient_norm == 0]
    begins = any(layer.weight_norm == 0 for layer in diagnosis.layers)  # behind weights of zeros it is 0 for one step
    if none and any(value for _, value in curve) and not begins:
        yield f"no gradient arrives at {listed(_name(layer) for layer in none)}: {_why_none(diagnosis, none[0])}"
    yield from _rise_or_fall(diagnosis, "gradients", curve, from_loss=True)


def _forward(diagnosis: Diagnosis) -> Iterator[str]:
    curve = _weighted(diagnosis, lambda layer: None if layer.mean_square is None else math.sqrt(layer.mean_square))
    yield from _rise_or_fall(diagnosis, "activations", curve)


def _rise_or_fall(diagnosis: Diagnosis, what: str, curve: Curve, from_loss: bool = False) -> Iterator[str]:
    """Whether a curve vanishes or explodes through the layers, of gradients from the loss down: a layer's factor is
    then its figure by that of the layer after it.
    """
    positive = [(layer, value) for layer, value in curve if 0 < value < math.inf]
    trend = _trend(positive[::-1] if from_loss else positive)
    if trend is None:
        return
    begin, end, factor = trend
    first, last = (end, begin) if from_loss else (begin, end)
    name = "vanishing" if factor < 1 else "exploding"
    verb = "shrink" if factor < 1 else "grow"
    cure = _cure(diagnosis, [layer for layer, _ in curve])
    yield f"{what} {verb} by {factor:.2g} a layer from {_name(first)} to {_name(last)}: {name}; {cure}"


def _trend(curve: Curve) -> tuple[LayerDiagnosis, LayerDiagnosis, float] | None:
    """First and last layer of the longest rise or fall of a curve, and its factor a layer; `None` of a healthy one.

    The line of least squares through the logarithms says whether there is one, so that single layers do not.
    """
    count = len(curve)
    if count < _DEPTH:
        return None
    logs = [math.log(value) for _, value in curve]
    middle, level = (count - 1) / 2, sum(logs) / count
    slope = sum((i - middle) * (y - level) for i, y in enumerate(logs)) / sum((i - middle) ** 2 for i in range(count))
    if abs(slope) * (count - 1) < math.log(_TOTAL) or abs(slope) < math.log(_PER_LAYER):
        return None
    along = [y if slope > 0 else -y for y in logs]
    begin, end = _steepest(along)
    return curve[begin][0], curve[end][0], math.exp((logs[end] - logs[begin]) / (end - begin))


def _steepest(values: Sequence[float]) -> tuple[int, int]:
    """The places i < j with the largest values[j] - values[i]."""
    best, lowest = (0, 1), 0
    for j in range(1, len(values)):
        if values[j] - values[lowest] > values[best[1]] - values[best[0]]:
            best = (lowest, j)
        if values[j] < values[lowest]:
            lowest = j
    return best


def _cure(diagnosis: Diagnosis, layers: Sequence[LayerDiagnosis]) -> str:
    """What would keep the curves level."""
    used = [layer.activation for layer in diagnosis.layers if layer.activation]
    activation = max(set(used), key=used.count) if used else ""
    if activation == "sigmoid":
        return (
            "a sigmoid passes a quarter of the signal at most; ReLU with Kaiming initialization would give 1.0, and so "
            "would residual connections or normalization"
        )
    if activation == "tanh":
        name, square = "Xavier initialization with the gain of tanh, 5/3,", (5 / 3) ** 2
    elif activation:
        name, square = "Kaiming initialization", 2.0
    else:
        name, square = "Xavier initialization", 1.0
    layer = layers[len(layers) // 2]
    fan_in = math.prod(layer.weight_shape[1:])
    size = math.prod(layer.weight_shape)
    if not layer.weight_norm or not math.isfinite(layer.weight_norm) or layer.parameters > 1.5 * size:
        return f"{name} would give 1.0"
    now, wanted = layer.weight_norm / math.sqrt(size), math.sqrt(square / fan_in)
    if 0.8 < now / wanted < 1.25:
        return "the weights have the scale of their initialization; residual connections or normalization keep it level"
    return f"{name} would give 1.0 (weights of size {wanted:.2g} in {_name(layer)}, where they are {now:.2g})"


def _why_none(diagnosis: Diagnosis, layer: LayerDiagnosis) -> str:
    place = diagnosis.layers.index(layer)
    for after in diagnosis.layers[place + 1 :]:
        if after.zeros == 1.0:
            return f"all that {_name(after)} gives is 0"
    return "it has vanished on the way, or the loss does not depend on them"


# Activations and updates.


def _rectifiers(diagnosis: Diagnosis) -> Iterator[str]:
    dead = [layer for layer in diagnosis.layers if layer.dead is not None and layer.dead > _DEAD]
    dead = [layer for layer in dead if layer.per_unit >= _SURE]
    if dead:
        worst = max(dead, key=lambda layer: layer.dead or 0)
        yield (
            f"dead ReLUs at {listed(_name(layer) for layer in dead)}: {worst.dead:.0%} of the units of {_name(worst)} "
            "are 0 for the whole batch, and take no gradient; a smaller learning rate, biases of 0, or LeakyReLU would "
            "keep them alive"
        )


def _saturation(diagnosis: Diagnosis) -> Iterator[str]:
    # What the model gives as its answer is right to be sure of itself.
    last = max((i for i, layer in enumerate(diagnosis.layers) if layer.weight_shape and layer.shape), default=0)
    found = [layer for layer in diagnosis.layers[:last] if (layer.saturated or 0) > _SATURATED]
    if found:
        worst = max(found, key=lambda layer: layer.saturated or 0)
        yield (
            f"saturated: {worst.saturated:.0%} of what {_name(worst)} gives lies at the bounds of {worst.activation}"
            + (f", and much at {listed(_name(layer) for layer in found if layer is not worst)}" if found[1:] else "")
            + "; hardly any gradient passes there; smaller weights or inputs of variance 1 keep it in its middle"
        )


def _updates(diagnosis: Diagnosis) -> Iterator[str]:
    middle = _update_ratio(diagnosis)
    if middle is None:
        return
    if middle > _LARGE_UPDATE:
        yield f"{_large(diagnosis, middle)}; about 0.001 is usual"
    elif middle < _SMALL_UPDATE:
        yield (
            f"the update is {middle:.2g} of the weights in the median of the layers: they hardly move; the learning "
            f"rate {diagnosis.learning_rate:.2g} is too small for these gradients; about 0.001 of the weights is usual"
        )


def _large(diagnosis: Diagnosis, ratio: float) -> str:
    return (
        f"the update is {ratio:.2g} of the weights in the median of the layers: the learning rate "
        f"{diagnosis.learning_rate:.2g} is too large"
    )


def _update_ratio(diagnosis: Diagnosis) -> float | None:
    """Update by weights in the median of the layers, where they are known."""
    layers = [layer for layer in diagnosis.layers if layer.gradient_norm and _has_weights(layer)]
    ratios = [layer.update_ratio for layer in layers if layer.update_ratio is not None and layer.update_ratio < 1e30]
    return median(ratios) if ratios and diagnosis.learning_rate else None


def diverged(diagnoses: Sequence[Diagnosis]) -> str:
    """How updates that were too large drove the loss of a run of steps up, or to NaN; "" of any other run.

    Behind such an update the layers may lie still, saturated or dead, and the loss may have come down again.
    """
    first, last = diagnoses[0], diagnoses[-1]
    worst = max(diagnoses, key=lambda diagnosis: math.inf if math.isnan(diagnosis.loss) else diagnosis.loss)
    if last.loss - first.loss <= _RISEN * abs(first.loss) and worst.loss - first.loss <= _LEAP * abs(first.loss):
        return ""
    for diagnosis in diagnoses[: diagnoses.index(worst)]:
        ratio = _update_ratio(diagnosis)
        if ratio is not None and ratio > _LARGE_UPDATE and not _curves(diagnosis):
            went = f"the loss went from {first.loss:.3g} to {worst.loss:.3g} in step {worst.step}"
            return f"{went}; in step {diagnosis.step} {_large(diagnosis, ratio)}"
    return ""


def _has_weights(layer: LayerDiagnosis) -> bool:
    """Whether a layer has weights of some size: the first update of what begins as zeros is not large."""
    if not layer.weight_shape or not layer.weight_norm:
        return False
    usual = 1 / math.sqrt(math.prod(layer.weight_shape[1:]))
    return layer.weight_norm / math.sqrt(math.prod(layer.weight_shape)) > 0.1 * usual


def _name(layer: LayerDiagnosis) -> str:
    name = layer.name or "the model"
    return f"{name}'s {layer.kind}" if layer.kind == layer.activation else name
