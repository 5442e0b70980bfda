"""Every graph, plan and piece of code that a page of `docs/` shows is what the program prints or what its files hold.

What stands between `<!-- printed: KEY -->` and `<!-- end -->` is written by `pytest tests/docs --update-cases`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from array_api_left_out import left_out
from doc_pages import DOCS, GUIDE, PRINTED, ROOT
from gradloom.engine.report.values import unit_name
from gradloom.engine.step.step_graph import trace_step
from gradloom.ir import Graph, Node
from gradloom.passes.budget import StepPlanner
from gradloom.passes.graph.rewrite import all_nodes
from gradloom.passes.memory.plan import Plan, plan
from gradloom.passes.pipeline import PASS_NAMES, in_bodies, pipeline, run_passes
from gradloom.passes.remat.candidates import planner_words
from gradloom.passes.remat.from_plan import graph_problem
from gradloom.passes.variants import DEFAULT, VARIANTS, variant_words

PAGES = [*sorted(DOCS.glob("*.md")), *GUIDE]
ARCHITECTURE = DOCS / "architecture.md"
BUDGET = DOCS / "how_a_budget_is_planned.md"


@cache
def example(page: Path = ARCHITECTURE) -> dict[str, Any]:
    """What the first Python code of a page defines."""
    code = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)[0]
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


def aligned(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """Rows of a table under its head, as text."""
    cells = [head, *(tuple(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return fenced("\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in cells))


@cache
def budgeted() -> StepPlanner:
    return StepPlanner(trace_step(*example(BUDGET)["recipe"]()).graph, threads=1, dumped=False)


def budget_problem() -> str:
    problem = graph_problem(budgeted().base)
    rows = (
        (place, unit_name(node), node.origin.role, *(" ".join(map(str, v)) for v in (unit.reads, unit.makes)),
         sum(problem.sizes[v] for v in unit.makes), round(unit.cost))
        for place, (node, unit) in enumerate(zip(problem.nodes, problem.units))
    )  # fmt: skip
    table = aligned(("place", "unit", "role", "reads", "makes", "bytes", "ns"), rows)
    return table.removesuffix("```\n") + f"floor: {problem.floor()} bytes\n```\n"


def budget_frontier() -> str:
    frontier = budgeted().frontier
    choices = [frontier.choice(i) for i in range(len(frontier.orders))]
    rows = (
        (order.peak, c.plan.arena_bytes, f"{c.slowdown:.1%}", order.flops, c.planner, c.variant)
        for order, c in zip(frontier.orders, choices)
    )
    return aligned(("live bytes", "arena", "more time", "FLOPs recomputed", "planner", "variant"), rows)


def budget_order() -> str:
    choice = budgeted().fastest_within(budgeted().base.arena_bytes * 85 // 100)
    assert choice is not None
    units = [node for phase in choice.plan.phases for node in phase]
    rows = ((place, unit_name(node), unit_role(node)) for place, node in enumerate(units))
    head = f"# planner: {planner_words(choice.planner)}\n# variant: {variant_words(choice.variant)}\n"
    return aligned(("place", "unit", "role"), rows).replace("```\n", f"```\n{head}", 1)


def unit_role(node: Node) -> str:
    """The role of a unit, or `recompute` where a part of it is recomputed."""
    roles = {n.origin.role for n in all_nodes(Graph((), (node,), ()))}
    return "recompute" if "recompute" in roles else node.origin.role


def examples(folder: str) -> str:
    """The programs and recipes of a folder, each with the first sentence of its docstring."""
    lines = []
    for path in sorted((ROOT / folder).glob("*.py")):
        text = path.read_text("utf-8")
        if re.search(r'^if __name__ == "__main__"|^def recipe\(|^TITLE = ', text, re.MULTILINE):
            said = " ".join((ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0].split())
            lines.append(f"- [`{path.name}`](../../{path.relative_to(ROOT)}): {said}\n")
    return "".join(lines)


def printed(key: str) -> str:
    if key.startswith("examples "):
        return examples(key.partition(" ")[2])
    if key == "variants":
        return "".join(f"- {variant.name}: {variant.why}.\n" for variant in (DEFAULT, *VARIANTS))
    if key.startswith("budget "):
        return {"problem": budget_problem, "frontier": budget_frontier, "order": budget_order}[key[7:]]()
    if key == "left out of the Array API":
        rows = [f"| {reason} | {len(tests)} |\n" for reason, tests in left_out().items()]
        return "".join(["| why | tests |\n", "|---|---|\n", *rows])
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
