"""`gradloom ir`: the graph of a training step, as it was traced, after a pass, or as it is chosen for a budget."""

from __future__ import annotations

from ..engine.compile.targets import target_of
from ..engine.step.compile_step import plan_step
from ..engine.step.step_graph import trace_step
from ..ir import Graph
from ..passes.pipeline import PASS_NAMES, pipeline, run_passes
from .command_error import CommandError
from .find_recipe import make_recipe


def step_text(recipe: str, after: str | None = None, memory: str | None = None, target: str = "cpu") -> str:
    """The text of the graph of a recipe's training step: traced, after the last pass of the name `after`, or the one
    that runs within the budget `memory`, in which recomputed nodes have the role `recompute`.
    """
    if after is not None and after not in PASS_NAMES:
        raise CommandError(f"there is no pass {after!r}; there are {', '.join(PASS_NAMES)}")
    if after is not None and memory is not None:
        raise CommandError(
            "--memory prints the graph that runs within a budget, --after one on the way to the graph without a budget:"
            " give one of them; GRADLOOM_DUMP=folder writes all stages, those of alternative pipelines too"
        )
    ingredients = make_recipe(recipe)
    if memory is not None:
        return str(plan_step(*ingredients, memory=memory, target=target).plan.graph)
    graph = trace_step(*ingredients).graph
    return str(graph if after is None else graph_after(graph, after, target))


def graph_after(graph: Graph, after: str, target: str) -> Graph:
    """A traced graph after the last pass of a name, of those that a target takes. Raises `CommandError` for another."""
    passes = pipeline(target=target_of(target))
    names = list(dict.fromkeys(step.name for step in passes))
    if after not in names:
        raise CommandError(f"there is no pass {after!r} for {target}; there are {', '.join(names)}")
    return run_passes(graph, passes, after)
