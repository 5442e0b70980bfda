"""`gradloom draw`: the graph of a training step as a picture."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from ..engine.step.compile_step import plan_step
from ..engine.step.step_graph import trace_step
from ..ir import Graph
from ..passes.graph.rewrite import Pass
from ..passes.pipeline import run_passes
from .command_error import CommandError
from .draw_bounds import NO_BOUNDS, Bounds, bounds_of
from .draw_boxes import MOST_BOXES, Opened, collapse
from .draw_dot import dot_source
from .draw_scopes import cut_scope
from .draw_u import u_svg
from .find_recipe import make_recipe
from .print_ir import passes_with

FORMATS = ("svg", "pdf", "png", "dot")
LAYOUTS = ("dot", "u")

_SECONDS = 10
_BOXES = (MOST_BOXES, MOST_BOXES // 3, MOST_BOXES // 9)
"""Where graphviz is not done with so many in time, it is given fewer."""
_GET_GRAPHVIZ = "install graphviz (apt install graphviz, dnf install graphviz, brew install graphviz, or graphviz.org)"


def draw(
    recipe: str,
    out: str,
    after: str | None = None,
    depth: int | None = None,
    only: str | None = None,
    layout: str | None = None,
    memory: str | None = None,
    target: str = "cpu",
    cores: int | None = None,
) -> str | None:
    """Draw the step of `recipe` into the file `out`; returns a word for the user where something else was drawn.

    `after` is a pass; by default the graph as it is planned, within `memory` if given, with its critical path and what
    its peak is made of. It is for `target`, cut for so many `cores`. `layout` is `dot` or `u`, by default dot where it
    is installed. Raises `CommandError` where that cannot be done.
    """
    kind = Path(out).suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise CommandError(f"cannot draw {out}: give a file that ends in {', '.join('.' + f for f in FORMATS)}")
    if layout == "u" and kind != "svg":
        raise CommandError(f"the layout u makes .svg files, not .{kind}")
    passes = None if after is None else passes_with(after, target, cores)
    if after is not None and memory is not None:
        raise CommandError("--memory goes with the planned graph, not with --after")
    graph, bounds = _graph(recipe, after, passes, memory, target, cores)
    title = f"One training step of {recipe}" + (f", after {after}" if after else "")
    try:
        text, word = _picture(graph, bounds, title, kind, depth, only, layout)
    except ValueError as error:
        raise CommandError(_no_such_module(graph, str(error))) from error
    try:
        Path(out).write_bytes(text)
    except OSError as error:
        raise CommandError(f"cannot write {out}: {error.strerror}") from error
    return word


def _graph(
    recipe: str, after: str | None, passes: Sequence[Pass] | None, memory: str | None, target: str, cores: int | None
) -> tuple[Graph, Bounds]:
    ingredients = make_recipe(recipe)
    if passes is not None:
        return run_passes(trace_step(*ingredients).graph, passes, after), NO_BOUNDS
    planned = plan_step(*ingredients, memory=memory, target=target, cores=cores)
    return planned.plan.graph, bounds_of(planned.report)


def _picture(
    graph: Graph, bounds: Bounds, title: str, kind: str, depth: int | None, only: str | None, layout: str | None
) -> tuple[bytes, str | None]:
    if layout == "u":
        return u_svg(graph, title, depth, only, bounds).encode(), None
    sizes = _BOXES if depth is None else _BOXES[:1]
    drawn = (dot_source(collapse(graph, depth, only, most, bounds), title) for most in sizes)
    first = next(drawn)
    if kind == "dot":
        return first.encode(), None
    program, why = shutil.which("dot"), f"there is no program dot here: {_GET_GRAPHVIZ}"
    if program is not None:
        for source in chain([first], drawn):
            try:
                return _by_dot(program, kind, source), None if source is first else f"{why}; more modules are collapsed"
            except CommandError as error:
                why = str(error)
    if layout == "dot" or kind != "svg":
        raise CommandError(f"{why}; without it there are -o FILE.dot, and -o FILE.svg --layout u")
    return u_svg(graph, title, depth, only, bounds).encode(), f"{why}; drawn as a U instead"


def _by_dot(program: str, kind: str, source: str) -> bytes:
    """What graphviz makes of it. Raises `CommandError` where it does not, or not in time."""
    try:
        done = subprocess.run([program, f"-T{kind}"], input=source.encode(), capture_output=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise CommandError(f"dot was not done after {_SECONDS} seconds: draw less, with --depth or --only") from None
    if done.returncode != 0:
        raise CommandError(f"dot failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _no_such_module(graph: Graph, only: str) -> str:
    scopes = (node.origin.scope for node in Opened(graph).nodes if node.origin.scope)
    names = dict.fromkeys(cut_scope(scope, only.count(".") + 1) for scope in scopes)
    near = sorted(names, key=lambda name: (name[:2] != only[:2], name))[:8]
    return f"no module is named {only!r}; there are {', '.join(near)}{' ...' if len(names) > len(near) else ''}"
