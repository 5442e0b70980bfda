"""`Diagnosis`: how activations, gradients and updates went through the layers in one step."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from .statistics import LayerFacts, Statistics

SCHEMA = "gradloom.diagnosis/1"
"""Names the fields of `to_json`: they stay as they are under this name."""


@dataclass(frozen=True)
class LayerDiagnosis:
    """One layer in one step. What does not apply to it is `None`; all shares are of 1.

    Of activations: `mean`, `variance` and `mean_square`, and the shares of `zeros`, of `saturated` ones (of tanh and
    sigmoid: so near a bound that hardly any gradient passes), of `nonfinite` ones, and of `dead` units (of ReLU: 0 for
    the whole batch). Of the gradient signal at its output, the derivative of the loss: the norm `signal`. Of its own
    parameters together: the norm of the gradient, before any clipping. Of those with two axes or more, or of all where
    there are none: the norms before the step and of the update; `update_ratio` is update by weights.
    """

    name: str
    """The module's path; "" for the model itself. `lstm[1]` is the second array that a module gives, and a further call
    of one module has the number of the call.
    """
    kind: str
    shape: tuple[int, ...]
    activation: str
    parameters: int
    """Elements of its own parameters."""
    weight_shape: tuple[int, ...]
    """The shape of its largest parameter of two axes or more, () where it has none."""
    mean: float | None
    variance: float | None
    mean_square: float | None
    zeros: float | None
    dead: float | None
    saturated: float | None
    nonfinite: float | None
    per_unit: int
    """For how many elements each unit was looked at, 0 where `dead` is `None`."""
    signal: float | None
    gradient_norm: float | None
    weight_norm: float | None
    update_norm: float | None
    update_ratio: float | None


@dataclass(frozen=True)
class Diagnosis:
    """What `compile_step(..., diagnose=True)` measured in one step, layer by layer as they are computed.

    Printed, it is a table with what stands out in words. Of arrays of more than 32,768 elements every k-th row and
    column of images, position of sequences, or feature is looked at, for every entry of the batch.
    """

    step: int
    """The number of the step, from 1 on."""
    loss: float
    learning_rate: float
    layers: tuple[LayerDiagnosis, ...]
    skipped: tuple[str, ...] = ()
    """Modules that are called inside a loop or a `vmap`, of which only the parameters are seen."""
    earlier: tuple[str, ...] = ()
    """What stood out in steps before this one and led to it, in words; `gradloom diagnose` fills it in."""

    def __repr__(self) -> str:
        found = f"{len(self.findings)} finding{'s' * (len(self.findings) != 1)}"
        return f"<Diagnosis of step {self.step}: loss {self.loss:.6g}, {len(self.layers)} layers, {found}>"

    def _repr_html_(self) -> str:
        from .notebook import diagnosis_html

        return diagnosis_html(self)

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """What stands out, in words; nothing for a healthy step."""
        from .words import findings

        return (*findings(self), *self.earlier)

    def __str__(self) -> str:
        from .table import table_text

        return table_text(self)

    def __rich__(self) -> Any:
        """The same for a console of rich, as wide as that is."""
        from .table import rich_text

        return rich_text(self)

    def to_json(self) -> str:
        """All figures as a JSON object. Numbers that are not finite are the texts "nan", "inf" and "-inf"."""
        layers = [{name: _plain(value) for name, value in asdict(layer).items()} for layer in self.layers]
        whole = {"schema": SCHEMA, "step": self.step, "loss": _plain(self.loss)}
        whole |= {"learning_rate": self.learning_rate, "findings": list(self.findings)}
        return json.dumps({**whole, "skipped": list(self.skipped), "layers": layers}, indent=1)

    def to_svg(self, path: str | os.PathLike[str] | None = None) -> str:
        """A picture of the forward and backward curves over depth, as the text of an SVG; also written to `path`."""
        from .picture import svg

        text = svg(self)
        if path is not None:
            _write(path, text)
        return text

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Write the picture of `to_svg` to a file: an SVG by itself, other formats by Matplotlib.

        Raises `ImportError` where Matplotlib is needed and not installed, `ValueError` where it knows no such format.
        """
        if os.fspath(path).lower().endswith(".svg"):
            self.to_svg(path)
            return
        from .picture import draw

        draw(self, os.fspath(path))

    def to_html(self, path: str | os.PathLike[str] | None = None, title: str = "") -> str:
        """A page for a browser with words, picture and table, which needs no network; also written to `path`."""
        from .page import page

        text = page(self, title)
        if path is not None:
            _write(path, text)
        return text


def _write(path: str | os.PathLike[str], text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def diagnosis_of(
    measured: Statistics, values: Sequence[float], sizes: dict[str, int], step: int, loss: float, rate: float
) -> Diagnosis:
    """The diagnosis of what a step gave for `measured`; `sizes` are those of all parameters by name."""
    sums: list[dict[str, float]] = [{} for _ in measured.layers]
    for (layer, name), value in zip(measured.names, values):
        sums[layer][name] = float(value)
    calls: dict[tuple[str, int, str], int] = {}
    layers: list[LayerDiagnosis] = []
    for facts, found in zip(measured.layers, sums):
        what = (facts.path, facts.part, facts.kind)
        number = calls[what] = calls.get(what, 0) + 1
        name = facts.path + (f"[{facts.part}]" if facts.part else "")
        name += f" (call {number})" if number > 1 else ""
        layers.append(_layer(name, facts, found, sum(sizes[parameter] for parameter in facts.parameters)))
    return Diagnosis(step, loss, rate, tuple(layers), measured.skipped)


def _layer(name: str, facts: LayerFacts, sums: dict[str, float], parameters: int) -> LayerDiagnosis:
    count = facts.looked_at
    mean = mean_square = variance = None
    if count:
        mean, mean_square = sums["sum"] / count, sums["squares"] / count
        variance = max(mean_square - mean * mean, 0.0) if math.isfinite(mean_square) else math.nan

    def share(what: str, of: int) -> float | None:
        return sums[what] / of if what in sums and of else None

    def norm(what: str) -> float | None:
        return math.sqrt(sums[what]) if what in sums else None

    weights, updates = norm("weights"), norm("updates")
    ratio = None
    if weights is not None and updates is not None:
        ratio = updates / weights if weights else math.inf if updates else 0.0
    signal = None
    if "signal" in sums:
        size = math.prod(facts.shape)
        signal = math.sqrt(sums["signal"] * (size / count))
    return LayerDiagnosis(
        name=name,
        kind=facts.kind,
        shape=facts.shape,
        activation="" if facts.activation is None else facts.activation.name,
        parameters=parameters,
        weight_shape=facts.weight_shape,
        mean=mean,
        variance=variance,
        mean_square=mean_square,
        zeros=share("zeros", count),
        dead=share("dead", count // facts.per_unit if facts.per_unit else 0),
        saturated=share("saturated", count),
        nonfinite=share("nonfinite", count),
        per_unit=facts.per_unit,
        signal=signal,
        gradient_norm=norm("gradients"),
        weight_norm=weights,
        update_norm=updates,
        update_ratio=ratio,
    )
