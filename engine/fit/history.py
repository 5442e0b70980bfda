"""What came of a run, epoch by epoch, and the file that it is logged to."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...ir.html import block, line_chart, paragraph, table
from ..tracing.tracer import located

Row = dict[str, Any]


class History:
    """The figures of a run by epoch: `history["val_loss"]` is a list with an entry for each epoch, NaN where an epoch
    has none; `history.rows` are dicts. `stopped` says why the run ended before its last epoch, and is empty otherwise.
    """

    def __init__(self, rows: list[Row] | None = None) -> None:
        self.rows: list[Row] = list(rows or [])
        self.stopped = ""

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.names:
            raise KeyError(located(f"{name}; the run has {', '.join(self.names) or 'no epoch'}"))
        return [row.get(name, math.nan) for row in self.rows]

    @property
    def names(self) -> list[str]:
        """The names of all figures."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        last = "" if not self.rows else "; " + ", ".join(f"{n} {_short(v)}" for n, v in self.rows[-1].items())
        stopped = f"; {self.stopped}" if self.stopped else ""
        return f"<History of {len(self.rows)} epoch{'s' * (len(self.rows) != 1)}{last}{stopped}>"

    def _repr_html_(self) -> str:
        losses = [(name, self[name]) for name in self.names if name.endswith("loss")]
        rows = [[_short(row.get(name, "")) for name in self.names] for row in self.rows]
        return block(
            f"{len(self)} epoch{'s' * (len(self) != 1)}",
            paragraph(f"stopped: {self.stopped}") if self.stopped else "",
            line_chart(losses, title="losses over epochs"),
            table(rows, self.names, range(len(self.names))) if rows else "",
        )


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


LOG_SUFFIXES = (".csv", ".jsonl")


class Log:
    """A file with a line for each epoch: `.csv`, or `.jsonl` with one JSON object a line.

    Raises `ValueError` for another kind of file, `OSError` where it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], rows: list[Row]) -> None:
        self._path = Path(path)
        if self._path.suffix not in LOG_SUFFIXES:
            what = f"log is a file that ends in {' or '.join(LOG_SUFFIXES)}, got {str(path)!r}"
            written = "TensorBoard's files are written by the callback gl.callbacks.TensorBoard(folder)"
            raise ValueError(located(f"{what}; {written}"))
        self._columns: list[str] = []
        self._behind = False
        self._path.write_text("", encoding="utf-8")
        for row in rows:
            wrong = self.add(row, rows)
            if wrong is not None:
                raise OSError(located(wrong))

    def add(self, row: Row, rows: list[Row]) -> str | None:
        """Write the line of an epoch. Where it has a figure that none had before, or the last line could not be
        written, all lines are written again. Returns what is wrong where it cannot be written now.
        """
        new = [name for name in row if name not in self._columns]
        self._columns += new
        whole = self._behind or (bool(new) and self._path.suffix == ".csv")
        lines = [self._text(each) for each in ([*rows_before(rows, row), row] if whole else [row])]
        if whole and self._path.suffix == ".csv":
            lines.insert(0, _line(self._columns))
        try:
            with open(self._path, "w" if whole else "a", encoding="utf-8", newline="") as file:
                file.write("".join(lines))
        except OSError as error:
            self._behind = True
            return f"cannot write {self._path}: {error.strerror}"
        self._behind = False
        return None

    def _text(self, row: Row) -> str:
        if self._path.suffix == ".jsonl":
            return json.dumps({name: _json(value) for name, value in row.items()}) + "\n"
        return _line([row.get(name, "") for name in self._columns])


def rows_before(rows: list[Row], row: Row) -> list[Row]:
    """Those that stand before a row."""
    return rows[: next((i for i, other in enumerate(rows) if other is row), len(rows))]


def _line(entries: list[Any]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(entries)
    return text.getvalue()


def _json(value: Any) -> Any:
    """JSON has no NaN and no infinities."""
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def kept(row: Mapping[str, Any]) -> Row:
    """What of a row does not depend on the machine and the hour, and so stands in a checkpoint."""
    return {name: value for name, value in row.items() if name not in ("seconds", "steps_per_second")}
