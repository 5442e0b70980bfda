"""`gradloom ir`: the graph of a training step, as it was traced or after a pass."""

from __future__ import annotations

from ..engine.step.step_graph import trace_step
from ..passes.pipeline import PASS_NAMES, run_passes
from .command_error import CommandError
from .find_recipe import make_recipe


def step_text(recipe: str, after: str | None = None) -> str:
    """The text of the graph of a recipe's training step, traced, or after the last pass of the name `after`."""
    if after is not None and after not in PASS_NAMES:
        raise CommandError(f"there is no pass {after!r}; there are {', '.join(PASS_NAMES)}")
    graph = trace_step(*make_recipe(recipe)).graph
    return str(graph if after is None else run_passes(graph, after=after))
