"""Passes as text: the files in `cases/` hold a graph, the passes to run, and the graph that must come out.

    === what this case shows
    graph(...) {...}
    --- simplify, strip-mine-scans(steps=2)
    graph(...) {...}

The passes are those of the pipeline and of its variants, by the names and with the options that they print.

`pytest tests/passes/test_cases.py --update-cases` writes what comes out now; read the difference before you keep it.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from gradloom.ir import Graph, is_float, parse, verify
from gradloom.passes.graph.rewrite import Pass
from gradloom.passes.pipeline import passed, pipeline
from gradloom.passes.ranks.loop_parts import LoopParts
from gradloom.passes.target import Target
from gradloom.passes.variants import LAST_PASSES, VARIANTS
from lockstep import both, parts_and_ranks

FOLDER = Path(__file__).parent / "cases"
PIPELINES = (pipeline(), pipeline(target=Target.cuda()), *(variant.passes for variant in VARIANTS), tuple(LAST_PASSES))
PASSES = {step.name: type(step) for steps in PIPELINES for step in steps}


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


def passes_of(case: Case) -> list[Pass]:
    """The passes of a case: their names, with options where these are not the default."""
    found = re.findall(r"([\w-]+)(?:\(((?:[^()]|\([^()]*\))*)\))?(?:, |$)", case.passes)
    options = [dict(re.findall(r"(\w+)=(\([^)]*\)|[^,]+)", text)) for _, text in found]
    return [
        PASSES[name](**{key: literal_eval(value) for key, value in given.items()})
        for (name, _), given in zip(found, options)
    ]


def after(graph: Graph, steps: Sequence[Pass]) -> Graph:
    """The graph after some passes, each of which leaves a sound one."""
    verify(graph)
    for step in steps:
        graph = passed(graph, [step])
        verify(graph, after=step.name)
    return graph


def outcome(case: Case) -> str:
    """What the passes of a case make of its graph, whose numbers stay."""
    before, steps = parse(case.before), passes_of(case)
    graph = after(before, steps)
    looped = next((step for step in steps if isinstance(step, LoopParts)), None)
    results = both(before, graph) if looped is None else parts_and_ranks(before, graph, looped)
    for expected, actual in zip(*results, strict=True):
        scale = np.abs(expected).max(initial=1) if is_float(expected.dtype) else 0
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6 * scale)
    return str(graph)


@pytest.mark.parametrize(("path", "case"), CASES)
def test_pass_gives_the_expected_text(path: Path, case: Case, request: pytest.FixtureRequest):
    if request.config.getoption("--update-cases"):
        path.write_text("\n".join(c.text(outcome(c)) for c in cases_of(path)))
    else:
        assert outcome(case) == case.after


def changed_by_last() -> set[str]:
    """The passes that a case ends in, and that change its graph."""
    found: set[str] = set()
    for case in (case for path in FILES for case in cases_of(path)):
        *before, last = passes_of(case)
        if str(after(parse(case.before), before)) != case.after:
            found.add(last.name)
    return found


def test_every_pass_of_the_pipeline_and_its_variants_ends_a_case_that_it_changes():
    of_gpus = {name for name, kind in PASSES.items() if kind.of_gpus}  # which may be told in tests of their own
    assert changed_by_last() | of_gpus == PASSES.keys()


def test_titles_are_unique():
    for path in FILES:
        titles = [case.title for case in cases_of(path)]
        assert len(titles) == len(set(titles))
