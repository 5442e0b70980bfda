"""The pictures of the guide are what is drawn now, and small; `pytest tests/docs --update-cases` draws them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as xml
from collections.abc import Callable
from pathlib import Path

import pytest
from doc_pages import DOCS, GUIDE, blocks, of_docs
from doc_programs import ran
from gradloom.tools.cli import main

FOLDER = DOCS / "guide" / "pictures"
MEMORY = DOCS / "guide" / "memory.md"
MOST_BYTES = 60_000

pictures = of_docs("pictures")


def timeline() -> str:
    names = ran(MEMORY).names
    return pictures.timeline([("without a budget", names["report"]), ('memory="50%"', names["half"])])


def frontier() -> str:
    return pictures.frontier(ran(MEMORY).names["plan"].curve(16))


def step() -> str:
    Path("your_code.py").write_text(blocks(MEMORY, "python")[0].text)
    assert main(["draw", "your_code.py:recipe", "-o", "step.svg", "--layout", "u", "--target", "cpu:avx2"]) == 0
    return Path("step.svg").read_text()


def cell() -> str:
    found = re.search(r"<svg.*?</svg>", ran(MEMORY).names["half"]._repr_html_(), re.DOTALL)
    assert found is not None
    return found[0] + "\n"


def history() -> str:
    assert main(["train", "digits", "--epochs", "20", "--plot", "history.svg"]) == 0
    return Path("history.svg").read_text()


def diagnosis() -> str:
    return ran(DOCS / "guide" / "diagnosing.md").names["step"].diagnosis.to_svg()


PLANNED = {"timeline.svg": timeline, "frontier.svg": frontier, "step.svg": step, "cell.svg": cell}
"""Pictures of plans are the same on every machine."""

MEASURED = {"history.svg": history, "diagnosis.svg": diagnosis}
"""Pictures of runs have the bits of the machine that made them: they are drawn where they are missing."""


@pytest.mark.parametrize(("name", "draw"), {**PLANNED, **MEASURED}.items())
def test_a_picture_is_what_is_drawn(
    name: str, draw: Callable[[], str], request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    update = request.config.getoption("--update-cases") and not (name in MEASURED and (FOLDER / name).exists())
    if update:
        if name == "history.svg":
            pytest.importorskip("matplotlib")
        (FOLDER / name).write_text(draw(), "utf-8")
    elif name in PLANNED:
        assert draw() == (FOLDER / name).read_text("utf-8")


def test_pictures_are_small_and_shown():
    shown = {
        name for page in GUIDE for name in re.findall(r"!\[[^\]]+\]\(pictures/([\w.]+)\)", page.read_text("utf-8"))
    }
    assert {path.name for path in FOLDER.iterdir()} == shown == {*PLANNED, *MEASURED}
    for path in FOLDER.iterdir():
        assert path.stat().st_size < MOST_BYTES, path
        assert xml.parse(path).getroot().tag.endswith("svg")


def test_every_kind_of_value_has_a_color():
    assert set(pictures.COLORS) == set(pictures.KIND_WORDS)
