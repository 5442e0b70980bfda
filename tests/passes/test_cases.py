"""Passes as text: the files in `cases/` hold a graph, the passes to run, and the graph that must come out.

    === what this case shows
    graph(...) {...}
    --- simplify, canonicalize
    graph(...) {...}

`pytest tests/passes/test_cases.py --update-cases` writes what comes out now; read the difference before you keep it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from gradloom.ir import interpret, parse, verify
from gradloom.passes.pipeline import in_bodies, pipeline
from gradloom.passes.remat.checkpoint_scans import CheckpointScans
from gradloom.passes.remat.delay_comparisons import DelayComparisons
from gradloom.passes.tiling.strip_mine_scans import StripMineScans
from random_graphs import random_inputs

FOLDER = Path(__file__).parent / "cases"
PASSES = {step.name: step for step in (*pipeline(), DelayComparisons(), CheckpointScans(), StripMineScans(2))}


@dataclass(frozen=True)
class Case:
    title: str
    before: str
    passes: str
    after: str

    def __str__(self) -> str:
        return self.title

    def text(self, after: str) -> str:
        return f"=== {self.title}\n{self.before}\n--- {self.passes}\n{after}\n"


def cases_of(path: Path) -> list[Case]:
    sections = re.split(r"^=== ", path.read_text(), flags=re.MULTILINE)[1:]
    cases: list[Case] = []
    for section in sections:
        title, body = section.split("\n", 1)
        before, rest = re.split(r"^--- ", body, maxsplit=1, flags=re.MULTILINE)
        passes, after = rest.split("\n", 1)
        cases.append(Case(title.strip(), before.strip(), passes.strip(), after.strip()))
    return cases


FILES = sorted(FOLDER.glob("*.txt"))
CASES = [pytest.param(path, case, id=f"{path.stem}: {case}") for path in FILES for case in cases_of(path)]


def outcome(case: Case) -> str:
    """What the passes of a case make of its graph, checked in its structure and its numbers."""
    graph = before = parse(case.before)
    verify(graph)
    for name in case.passes.split(", "):
        graph = in_bodies(PASSES[name](graph), PASSES[name])
        verify(graph, after=name)
    arrays = random_inputs(before)
    for actual, expected in zip(interpret(graph, *arrays), interpret(before, *arrays), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    return str(graph)


@pytest.mark.parametrize(("path", "case"), CASES)
def test_pass_gives_the_expected_text(path: Path, case: Case, request: pytest.FixtureRequest):
    if request.config.getoption("--update-cases"):
        path.write_text("\n".join(c.text(outcome(c)) for c in cases_of(path)))
    else:
        assert outcome(case) == case.after


def test_every_pass_has_cases():
    used = {name for path in FILES for case in cases_of(path) for name in case.passes.split(", ")}
    assert used >= {"merge-scans", "simplify", "distribute-scans", "channels-last", "canonicalize", "fuse", "schedule"}


def test_titles_are_unique():
    for path in FILES:
        titles = [case.title for case in cases_of(path)]
        assert len(titles) == len(set(titles))
