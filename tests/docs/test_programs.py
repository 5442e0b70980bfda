"""The blocks of Python on a page run as one program, and do what the page says.

A block of text below a block of Python is what it prints, or the error that it ends with; `pytest tests/docs
--update-cases` writes it.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
from doc_pages import PAGES, ROOT, blocks
from doc_programs import ran

PROGRAMS = [page for page in PAGES if blocks(page, "python") and page.name != "README.md"]
"""The README has a test of its own, which runs its commands too."""


@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_runs(page: Path, request: pytest.FixtureRequest):
    printed = ran(page).printed
    if request.config.getoption("--update-cases"):
        text = page.read_text("utf-8")
        for block, now in reversed(printed):
            assert block.shown is not None
            text = text[: block.shown.start] + now + text[block.shown.end :]
        page.write_text(text, "utf-8")
        return
    for block, now in printed:
        assert block.shown is not None
        assert now == block.shown.text, "pytest tests/docs --update-cases writes what is printed now"


def run_blocks_for(package: str, page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the blocks that are a program for a package of another."""
    pytest.importorskip(package)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page, "python"):
        if block.runs_with == package:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block.text, "your_code.py", "exec"), names)
            assert block.shown is None or printed.getvalue() == block.shown.text


def pages_for(package: str) -> list[Path]:
    return [page for page in PAGES if any(block.runs_with == package for block in blocks(page, "python"))]


@pytest.mark.peers
@pytest.mark.parametrize("page", pages_for("torch"), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_for_torch_form_a_program_too(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run_blocks_for("torch", page, tmp_path, monkeypatch)


@pytest.mark.onnx
@pytest.mark.parametrize("page", pages_for("onnx"), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_for_onnx_form_a_program_too(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run_blocks_for("onnx", page, tmp_path, monkeypatch)
