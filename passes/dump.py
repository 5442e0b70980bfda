"""Graphs as text in the folder that the environment variable `GRADLOOM_DUMP` names."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path


class DumpError(ValueError):
    """`GRADLOOM_DUMP` names no folder that can be written to."""


@contextmanager
def _dump_folder() -> Generator[Path | None, None, None]:
    """The folder `GRADLOOM_DUMP`, None where it is not set. Raises `DumpError` where it cannot be written to."""
    root = os.environ.get("GRADLOOM_DUMP")
    try:
        yield Path(root) if root else None
    except OSError as error:
        message = f"GRADLOOM_DUMP={root} is no folder to write to ({error}); name one, or unset it"
        raise DumpError(message) from None


def clear_chosen() -> None:
    """Remove the `chosen.txt` that another step left in `GRADLOOM_DUMP`: where a step is refused there is none."""
    with _dump_folder() as root:
        if root is not None:
            (root / "chosen.txt").unlink(missing_ok=True)


def write_dump(name: str, parts: Sequence[object], folder: str = "") -> None:
    """Write the text of some parts to a file in `GRADLOOM_DUMP`, or a folder in it. Where it is not set no part is
    printed: a graph takes as long as several passes.
    """
    with _dump_folder() as root:
        if root is not None:
            path = root / folder
            path.mkdir(parents=True, exist_ok=True)
            (path / name).write_text("\n".join(map(str, parts)) + "\n")
