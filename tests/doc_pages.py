"""The documents as the tests read them: their pages, and the blocks of code in these."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

CONTRIBUTORS = sorted(DOCS.glob("*.md"))
GUIDE = sorted((DOCS / "guide").glob("*.md"))
PAGES = [*CONTRIBUTORS, *GUIDE, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]

PRINTED = re.compile(r"^<!-- printed: (.+?) -->\n(.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)
"""What a test writes into a page, with the key that says what it is."""

_BLOCK = re.compile(r"^(?:<!-- (quoted|runs with): (\S+) -->\n)?```([\w-]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of code on a page."""

    language: str
    text: str
    start: int
    """Where its text begins on the page."""
    quoted: str = ""
    """The file that it is a part of, if it says so."""
    runs_with: str = ""
    """The package of another that it is a program for."""
    shown: Block | None = None
    """The block of text that stands below it: what it prints, or the error that it ends with."""

    @property
    def end(self) -> int:
        """Where its text ends on the page."""
        return self.start + len(self.text)


def own_text(page: Path) -> str:
    """A page, in which what a test writes is left blank."""
    return PRINTED.sub(lambda found: " " * len(found[0]), page.read_text("utf-8"))


def tables(page: Path) -> list[tuple[str, list[list[str]]]]:
    """The tables of a page: the head of the second column, and the cells of each row."""
    found: list[tuple[str, list[list[str]]]] = []
    text = own_text(page)
    for table in re.findall(r"^(?:\|.*\|\n)+", text, re.MULTILINE):
        head, _, *rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()]
        found.append((head[1], rows))
    return found


def code_in(cell: str) -> list[str]:
    """The code spans of a cell."""
    return [span.replace("\\|", "|") for span in re.findall(r"`([^`]+)`", cell)]


def blocks(page: Path, *languages: str) -> list[Block]:
    """The blocks of a page in some languages, without those that a test writes."""
    text = own_text(page)
    found = [
        Block(m[3], m[4], m.start(4), *((m[2], "") if m[1] == "quoted" else ("", m[2] or "")))
        for m in _BLOCK.finditer(text)
    ]
    result: list[Block] = []
    for block, following in zip(found, [*found[1:], None]):
        if block.language not in languages:
            continue
        next_to = following is not None and following.language == "text"
        if next_to and text[block.end + 3 : following.start].split() == ["```text"]:
            block = block._replace(shown=following)
        result.append(block)
    return result


def of_docs(name: str) -> ModuleType:
    """A module of the folder of documents, which is no package."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found
