"""`gradloom ir`: the graph of a training step, as it was traced, after a pass, or as it is chosen for a budget."""

from __future__ import annotations

from ..engine.compile.targets import target_of, with_cores
from ..engine.step.compile_step import plan_step
from ..engine.step.step_graph import trace_step
from ..ir.near_names import similar
from ..passes.graph.rewrite import Pass
from ..passes.pipeline import pipeline, run_passes
from .command_error import CommandError
from .find_recipe import make_recipe


def step_text(
    recipe: str,
    after: str | None = None,
    memory: str | None = None,
    target: str = "cpu",
    cores: int | None = None,
) -> str:
    """The text of the graph of a recipe's training step: traced, after the last pass of the name `after`, or the one
    that runs within the budget `memory`, in which recomputed nodes have the role `recompute`.
    """
    passes = None if after is None else passes_with(after, target, cores)
    if after is not None and memory is not None:
        raise CommandError(
            "--memory prints the graph that runs within a budget, --after one on the way to the graph without a budget:"
            " give one of them; GRADLOOM_DUMP=folder writes all stages, those of alternative pipelines too"
        )
    ingredients = make_recipe(recipe)
    if memory is not None:
        return str(plan_step(*ingredients, memory=memory, target=target, cores=cores).plan.graph)
    graph = trace_step(*ingredients).graph
    return str(graph if passes is None else run_passes(graph, passes, after))


def passes_with(after: str, target: str, cores: int | None) -> list[Pass]:
    """The passes of a target of so many cores, one of which is called `after`. Raises `CommandError` where none is."""
    passes = pipeline(target=with_cores(target_of(target), cores))
    names = list(dict.fromkeys(step.name for step in passes))
    if after not in names:
        near = similar(after, names)
        advice = f"{near + '; ' if near else ''}there are {', '.join(names)}"
        raise CommandError(f"there is no pass {after!r} for {target}; {advice}")
    return passes
