"""`gradloom compile`: a recipe's step, compiled, and where the time went."""

from __future__ import annotations

from ..engine.compile.compile_report import CompileReport
from ..engine.step.compile_step import compile_step
from .find_recipe import make_recipe
from .training_data import training_data


def compile_report(
    recipe: str, threads: int | None = None, target: str = "cpu", cores: int | None = None
) -> CompileReport:
    """Compile the step of `recipe` for the batches that it is trained with. Raises what `make_recipe` raises."""
    made = make_recipe(recipe)
    batch = made.batch if recipe == "mnist" else training_data(recipe, made, None, 0).batch
    return compile_step(*made[:3], batch, target=target, threads=threads, cores=cores).compile_report
