"""A diagnosis in a notebook: what stands out in words, the curves over depth, the figures of each layer."""

from __future__ import annotations

from ...ir.html import block, folded, line_chart, paragraph
from .diagnosis import Diagnosis
from .table import heading, words

_NAN = float("nan")


def diagnosis_html(diagnosis: Diagnosis) -> str:
    """The diagnosis as HTML; `diagnosis.to_html(path)` writes the whole page."""
    layers = diagnosis.layers
    curves = (
        ("variance of activations", [_figure(layer.variance) for layer in layers]),
        ("norm of the gradient signal", [_figure(layer.signal) for layer in layers]),
        ("update by weights", [_figure(layer.update_ratio) for layer in layers]),
    )
    return block(
        f"Diagnosis of {heading(diagnosis)}",
        *(paragraph(line) for line in words(diagnosis)),
        *(line_chart([(f"{name}, by layer", values)]) for name, values in curves),
        folded("layer by layer", str(diagnosis)),
    )


def _figure(value: float | None) -> float:
    return _NAN if value is None else value
