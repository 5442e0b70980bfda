"""The blocks of Python on a page run as one program, in their order, and do what the page says.

A block of text below a block of Python is what it prints, or the error that it ends with; `pytest tests/docs
--update-cases` writes it. Each block is a file of its own, `your_code.py`, so that errors name lines that a reader can
count.
"""

from __future__ import annotations

import contextlib
import io
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from doc_pages import PAGES, ROOT, Block, blocks

PROGRAMS = [page for page in PAGES if blocks(page, "python") and page.name != "README.md"]
"""The README has a test of its own, and one that runs its commands."""

_WIDTH = 100
_ERROR = re.compile(r"^[\w.]*(Error|Warning): ")


def run(block: Block, names: dict[str, Any], folder: Path) -> str:
    """Run a block; what it prints, and the error that it ends with, as a page shows them."""
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
        printed.write(wrapped(f"{type(error).__name__}: {error}"))
    return re.sub(rf"({re.escape(str(folder.parent))}/)?block_\d+/", "", printed.getvalue())


def wrapped(message: str) -> str:
    """An error, whose lines a reader sees whole."""
    lines = message.splitlines()
    fill = textwrap.TextWrapper(_WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False).fill
    return "\n".join(fill(line) if len(line) > _WIDTH else line for line in lines) + "\n"


@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: page.name)
def test_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    monkeypatch.chdir(tmp_path)
    text, names = page.read_text("utf-8"), {"__name__": "__main__"}
    found = {}
    for number, block in enumerate(blocks(page, "python")):
        if block.quoted:
            assert " ".join(block.text.split()) in " ".join((ROOT / block.quoted).read_text().split())
            continue
        found[number] = block, run(block, names, tmp_path / f"block_{number}")
    if request.config.getoption("--update-cases"):
        for block, now in reversed(found.values()):
            if block.shown is not None:
                text = text[: block.shown.start] + now + text[block.shown.end :]
        page.write_text(text, "utf-8")
        return
    for block, now in found.values():
        if block.shown is not None:
            assert now == block.shown.text, f"{page.name}: run pytest tests/docs --update-cases"
