"""What a stage finds, told as it is found, so that nothing is lost when it is ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

Line = dict[str, Any]


class Report:
    """What a stage writes to. `write` gets each line at once; `document` puts lines together again."""

    def __init__(self, write: Callable[[Line], None]) -> None:
        self._write = write

    def note(self, name: str, value: Any) -> None:
        """A fact, or a figure."""
        self._write({"note": name, "value": value})

    def check(self, name: str, holds: bool, told: str = "") -> None:
        """A promise, and whether it holds; `told` says what was found."""
        self._write({"check": name, "holds": bool(holds), "told": told})

    def lacks(self, what: str) -> None:
        """What is missing on this machine, so that something was left out."""
        self._write({"lacks": what})

    def row(self, table: str, **columns: Any) -> None:
        """A row of a table."""
        self._write({"table": table, "row": columns})


def document(lines: list[Line]) -> dict[str, Any]:
    """What a stage wrote, by kind: notes, checks, what is missing, and tables."""
    notes: dict[str, Any] = {}
    tables: dict[str, list[Mapping[str, Any]]] = {}
    checks: list[Line] = []
    lacks: list[str] = []
    for line in lines:
        if "note" in line:
            notes[line["note"]] = line["value"]
        elif "check" in line:
            checks.append(line)
        elif "lacks" in line:
            lacks.append(line["lacks"])
        else:
            tables.setdefault(line["table"], []).append(line["row"])
    return {"notes": notes, "checks": checks, "lacks": lacks, "tables": tables}


def read_lines(text: str) -> list[Line]:
    """The lines of a file, but for a last one that was cut."""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
