"""The proof as a person reads it: one line a stage, then its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .stages import FAILED, LATE, Outcome


def show(outcomes: Mapping[str, Outcome], console: Console) -> None:
    """Print all of it."""
    for name, outcome in outcomes.items():
        checks = outcome["checks"]
        held = sum(check["holds"] for check in checks)
        said = f"{held} of {len(checks)} checks hold" if checks else ""
        console.print(Text(f"{name}: {outcome['state']} in {outcome['seconds']:.1f} s  {said}", style="bold"))
        for check in checks:
            if not check["holds"]:
                console.print(Text(f"  does not hold: {check['check']}: {check['told']}"))
        for what in outcome["lacks"]:
            console.print(Text(f"  left out: {what}"))
        if outcome["state"] in (FAILED, LATE) and outcome.get("error"):
            console.print(Text("  " + outcome["error"].strip().splitlines()[-1]))
        for title, rows in outcome["tables"].items():
            console.print(table(title, rows))


def table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows under the names of their columns."""
    made = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 2), pad_edge=False)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    for name in columns:
        words = any(isinstance(row.get(name), str) for row in rows)
        made.add_column(name, justify="left" if words else "right", overflow="fold")
    for row in rows:
        made.add_row(*(Text(_said(row.get(name))) for name in columns))
    return made


def _said(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
