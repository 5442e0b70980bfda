"""A diagnosis as a table for a terminal."""

from __future__ import annotations

import re
from io import StringIO
from textwrap import fill

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from ...ir.printable import printable
from ..report.wording import listed
from .diagnosis import Diagnosis, LayerDiagnosis
from .words import summary

_WIDTH = 100


_COLUMNS = ("variance", "zeros", "saturated", "dead", "non-finite", "signal", "gradient", "update/weight")


def table(diagnosis: Diagnosis, brief: bool = False) -> Table:
    """One row a layer, in the order in which they are computed. A `brief` one has no column that says nothing."""
    rows = [cells(layer) for layer in diagnosis.layers]
    said = [any(row[i] not in ("", "0") for row in rows) for i in range(1, len(_COLUMNS) + 1)]
    shown = [0, *(i for i, says in enumerate(said, 1) if says or not brief)]
    result = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0) if brief else (0, 1))
    result.add_column("layer", overflow="fold", min_width=12)
    for i in shown[1:]:
        lines = re.sub("([-/])", r"\1\n", _COLUMNS[i - 1]) if brief else _COLUMNS[i - 1]
        result.add_column(lines, justify="right", no_wrap=True, min_width=max(map(len, lines.split("\n"))))
    for row in rows:
        result.add_row(*(Text(row[i]) for i in shown))
    return result


def cells(layer: LayerDiagnosis) -> list[str]:
    """The figures of a layer as text, its name first."""
    name = f"{layer.name or '(model)'}  {layer.kind}"
    shares = [_share(value) for value in (layer.zeros, layer.saturated, layer.dead, layer.nonfinite)]
    norms = [_number(value) for value in (layer.signal, layer.gradient_norm, layer.update_ratio)]
    return [printable(name), _number(layer.variance), *shares, *norms]


def words(diagnosis: Diagnosis) -> list[str]:
    """What there is to say: what stands out, and what is not seen."""
    said = list(diagnosis.findings) or [summary(diagnosis)]
    if diagnosis.skipped:
        names = listed(name or "the model" for name in diagnosis.skipped)
        said.append(f"called inside a loop or a vmap, and seen by their parameters alone: {names}")
    return [printable(line) for line in said]


def heading(diagnosis: Diagnosis) -> str:
    """The step in one line."""
    return f"step {diagnosis.step}, loss {diagnosis.loss:.6g}, learning rate {diagnosis.learning_rate:.3g}"


def rich_text(diagnosis: Diagnosis) -> Group:
    """Heading, table and words for a console."""
    style = "bold red" if diagnosis.findings else "green"
    return Group(
        Text(heading(diagnosis)), table(diagnosis, brief=True), *(Text(line, style) for line in words(diagnosis))
    )


def table_text(diagnosis: Diagnosis) -> str:
    """Heading, table and words as plain text."""
    console = Console(file=StringIO(), width=_WIDTH + 40, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(table(diagnosis))
    rows = "\n".join(line.rstrip() for line in captured.get().split("\n")).strip("\n")
    lines = [fill(line, _WIDTH, subsequent_indent="  ") for line in words(diagnosis)]
    return "\n".join([heading(diagnosis), "", rows, "", *lines])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _share(value: float | None) -> str:
    if value is None:
        return ""
    return "0" if value == 0 else f"{value:.1%}" if value >= 0.0005 else "<0.1%"
