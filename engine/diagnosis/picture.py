"""The curves of a diagnosis over depth: forward, backward, and the updates; as an SVG, or by Matplotlib."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from ...ir.printable import printable
from ..tracing.errors import located
from .diagnosis import Diagnosis, LayerDiagnosis


@dataclass(frozen=True)
class _Curve:
    title: str
    of: Callable[[LayerDiagnosis], float | None]
    color: str


_CURVES = (
    _Curve("Forward: variance of the activations", lambda layer: layer.variance, "#2f6fd0"),
    _Curve("Backward: norm of the gradient signal ‖δ‖", lambda layer: layer.signal, "#c2352b"),
    _Curve("Update: norm of the update by that of the parameters", lambda layer: layer.update_ratio, "#3a8f5c"),
)

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 860, 190, 64, 16, 30, 22
_MOST_NAMES = 24
_LONGEST_NAME = 26


def svg(diagnosis: Diagnosis) -> str:
    """The picture as the text of an SVG; pointing at a layer shows its name and figure."""
    names = [printable(layer.name or layer.kind) for layer in diagnosis.layers]
    foot = 12 + 5.4 * min(max(map(len, names), default=0), _LONGEST_NAME)
    height = _HEIGHT * len(_CURVES) + foot
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" role="img" '
        f'aria-label="Curves over the depth of the network" font-family="sans-serif" font-size="11">',
        "<style>.ink{fill:#23262b}.soft{fill:#6a6f78}.rule{stroke:#d9d6cc}"
        "@media(prefers-color-scheme:dark){.ink{fill:#e6e7ea}.soft{fill:#9ba1ac}.rule{stroke:#3a3f48}}</style>",
    ]
    for number, curve in enumerate(_CURVES):
        parts += _panel(curve, diagnosis.layers, names, number * _HEIGHT)
    every = max(1, math.ceil(len(names) / _MOST_NAMES))
    for i in range(0, len(names), every):
        x, y = _place(i, len(names)), _HEIGHT * len(_CURVES) + 4
        name = names[i] if len(names[i]) <= _LONGEST_NAME else "…" + names[i][1 - _LONGEST_NAME :]
        turned = f'transform="rotate(-60 {x:.1f} {y})" text-anchor="end"'
        parts.append(f'<text class="soft" x="{x:.1f}" y="{y}" font-size="9.5" {turned}>{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"])


def _place(i: int, count: int) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (i + 0.5) / max(count, 1)


def _panel(curve: _Curve, layers: Sequence[LayerDiagnosis], names: Sequence[str], above: float) -> list[str]:
    points = _points(curve, layers)
    low, high = _decades([value for _, value in points])
    top, bottom = above + _TOP, above + _HEIGHT - _BOTTOM

    def height(value: float) -> float:
        return bottom - (bottom - top) * (math.log10(value) - low) / (high - low)

    parts = [f'<text class="ink" x="{_LEFT}" y="{above + 18}" font-weight="600">{escape(curve.title)}</text>']
    for decade in range(low, high + 1, max(1, (high - low) // 5)):
        y = height(10.0**decade)
        parts.append(f'<line class="rule" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        label = f"{10.0**decade:g}"
        parts.append(f'<text class="soft" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    if not points:
        middle = (top + bottom) / 2
        parts.append(f'<text class="soft" x="{_LEFT}" y="{middle:.1f}">no layer has a figure above 0</text>')
    places = [(_place(i, len(layers)), height(value)) for i, value in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts.append(f'<polyline fill="none" stroke="{curve.color}" stroke-width="1.2" opacity="0.6" points="{path}"/>')
    for (i, value), (x, y) in zip(points, places):
        filled = curve.color if layers[i].weight_shape else "none"
        title = f"<title>{escape(names[i])}: {value:.4g}</title>"
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" stroke="{curve.color}" fill="{filled}">{title}</circle>')
    return parts


def _points(curve: _Curve, layers: Sequence[LayerDiagnosis]) -> list[tuple[int, float]]:
    """What a logarithmic axis can show: the number of the layer, and its figure."""
    found = [(i, curve.of(layer)) for i, layer in enumerate(layers)]
    return [(i, value) for i, value in found if value is not None and 0 < value < math.inf]


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten that the axis runs from and to."""
    if not values:
        return 0, 1
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return (low, high) if high > low else (low, low + 1)


def draw(diagnosis: Diagnosis, path: str) -> None:
    """The picture by Matplotlib, in the format that the name of the file says.

    Raises `ImportError` where it is not installed, `ValueError` where it knows no such format.
    """
    try:
        from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError(
            located(
                f"matplotlib is not installed, which {path} needs; pip install '.[plot]' in Gradloom's folder gets it, "
                "and a name that ends in .svg needs none"
            )
        ) from None
    figure = Figure(figsize=(9.0, 7.5), layout="constrained")
    panels = figure.subplots(len(_CURVES), 1, sharex=True)
    for axes, curve in zip(panels, _CURVES):
        points = _points(curve, diagnosis.layers)
        axes.plot([i for i, _ in points], [value for _, value in points], "o-", color=curve.color, markersize=3)
        axes.set(yscale="log", title=curve.title)
        axes.grid(alpha=0.3)
    every = max(1, math.ceil(len(diagnosis.layers) / _MOST_NAMES))
    shown = range(0, len(diagnosis.layers), every)
    names = [printable(diagnosis.layers[i].name or diagnosis.layers[i].kind) for i in shown]
    panels[-1].set_xticks(list(shown), names, rotation=60, ha="right", fontsize=7)
    figure.savefig(path)
