"""Every graph, plan and piece of code that a page of `docs/` shows is what the program prints or what its files hold.

What stands between `<!-- printed: KEY -->` and `<!-- end -->` is written by `pytest tests/docs --update-cases`.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from gradloom.engine.step.step_graph import trace_step
from gradloom.ir import Graph
from gradloom.passes.memory.plan import Plan, plan
from gradloom.passes.pipeline import PASS_NAMES, in_bodies, pipeline, run_passes

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PRINTED = re.compile(r"^<!-- printed: (.+?) -->\n(.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)


@cache
def example() -> dict[str, Any]:
    """What the first Python code of the page on the architecture defines."""
    code = re.findall(r"^```python\n(.*?)^```$", ARCHITECTURE.read_text(), re.MULTILINE | re.DOTALL)[0]
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, "example.py", "exec"), names)
    return names


@cache
def traced(rows: int) -> Graph:
    return trace_step(*example()["recipe"](rows)).graph


@cache
def after_each() -> dict[str, Graph | None]:
    """The graph of the example after the first pass of each name; None where the pass leaves it as it is."""
    graph, found = traced(16), dict[str, Graph | None]()
    for step in pipeline():
        before, graph = graph, in_bodies(step(graph), step)
        found.setdefault(step.name, graph if str(graph) != str(before) else None)
    return found


def fenced(text: str, language: str = "") -> str:
    return f"```{language}\n{text}\n```\n"


def shown(graph: Graph) -> str:
    """The text without lines of the user's source, which a reader of the page does not have."""
    return fenced(re.sub(r' at="[^"]*"', "", str(graph)))


def unchanged(name: str) -> str:
    cases = ROOT / "tests" / "passes" / "cases" / f"{name.replace('-', '_')}.txt"
    if not cases.exists():
        return "The example stays as it is.\n"
    return f"The example stays as it is; [the tests' cases](../{cases.relative_to(ROOT)}) show what the pass does.\n"


def blocks_of(made: Plan) -> str:
    """The arena as a table: each block, and the phases in which it is taken."""
    rows = ["offset   bytes  phases  values"]
    for block in sorted(made.blocks, key=lambda b: (b.birth, b.offset)):
        what = ", ".join(f"{v.type} of {v.node.op.name}" for v in block.values if v.node) or "scratch"
        rows.append(f"{block.offset:6}  {block.nbytes:6}  {f'{block.birth}-{block.death}':>6}  {what}")
    return fenced("\n".join([*rows, f"arena: {made.arena_bytes} bytes"]))


def code_of(path: str, name: str) -> str:
    """The statement at the top of a file that defines a name."""
    source = (ROOT / path).read_text()
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [node]
        if name in {getattr(t, "name", getattr(t, "id", None)) for t in targets}:
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            return fenced("\n".join(source.splitlines()[first - 1 : node.end_lineno]), "python")
    raise LookupError(f"{path} defines no {name}")


def case_of(path: str, title: str) -> str:
    """A case of a pass, as its file has it."""
    sections = re.split(r"^=== ", (ROOT / path).read_text(), flags=re.MULTILINE)
    (found,) = [section for section in sections if section.startswith(f"{title}\n")]
    return fenced(f"=== {found.strip()}")


def printed(key: str) -> str:
    kind, _, rest = key.partition(" ")
    if kind == "after":
        graph = after_each()[rest]
        return unchanged(rest) if graph is None else shown(graph)
    if kind == "code":
        return code_of(*rest.split(" "))
    if kind == "case":
        return case_of(*rest.split(" ", 1))
    if key == "traced":
        return shown(traced(16))
    if key == "plan":
        return blocks_of(plan(run_passes(traced(16)), threads=1, outputs_in_arena=True))
    assert key == "2048 rows after tile-batch", key
    return shown(run_passes(traced(2048), after="tile-batch"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_shows_what_is_printed(page: Path, request: pytest.FixtureRequest):
    text = page.read_text()
    now = PRINTED.sub(lambda found: f"<!-- printed: {found[1]} -->\n{printed(found[1])}<!-- end -->", text)
    if request.config.getoption("--update-cases"):
        page.write_text(now)
    else:
        assert text == now


def test_the_architecture_has_each_pass_in_the_order_of_the_pipeline():
    keys = [key for key, _ in PRINTED.findall(ARCHITECTURE.read_text())]
    assert [key.removeprefix("after ") for key in keys if key.startswith("after ")] == list(PASS_NAMES)
