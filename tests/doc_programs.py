"""The blocks of Python on a page as one program, run once."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
import textwrap
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from doc_pages import ROOT, Block, blocks

_WIDTH = 96
_ERROR = re.compile(r"^[\w.]*(Error|Warning):")


class Ran(NamedTuple):
    """What came of a page."""

    names: dict[str, Any]
    printed: list[tuple[Block, str]]
    """The blocks that have a block of text below, and what that has to say."""


@cache
def ran(page: Path) -> Ran:
    """Run the blocks of a page, in their order, in an empty folder.

    Each is a file of its own, `your_code.py`, so that errors name lines that a reader can count.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    printed: list[tuple[Block, str]] = []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for number, block in enumerate(blocks(page, "python")):
            if block.runs_with:
                continue
            if block.quoted:
                assert " ".join(block.text.split()) in " ".join((ROOT / block.quoted).read_text().split())
                continue
            text = _run(block, names, Path(folder) / f"block_{number}")
            if block.shown is not None:
                printed.append((block, text))
    return Ran(names, printed)


def _run(block: Block, names: dict[str, Any], folder: Path) -> str:
    """What a block prints, and the error that it ends with, as a page shows them."""
    folder.mkdir()
    file = folder / "your_code.py"
    file.write_text(block.text)
    printed = io.StringIO()
    raises = block.shown is not None and any(map(_ERROR.match, block.shown.text.splitlines()))
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(block.text, str(file), "exec"), names)
    except Exception as error:
        if not raises:
            raise
        printed.write(_wrapped(_without_folders(f"{type(error).__name__}: {error}")))
    else:
        assert not raises, f"{block.text}\nraises nothing"
    return _without_folders(printed.getvalue())


def _without_folders(text: str) -> str:
    return re.sub(r"(/\S*/)?block_\d+/", "", text)


def _wrapped(message: str) -> str:
    """An error, whose lines a reader sees whole."""
    fill = textwrap.TextWrapper(_WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False).fill
    return "\n".join(fill(line) if len(line) > _WIDTH else line for line in message.splitlines()) + "\n"
