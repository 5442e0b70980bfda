"""Plans every model of the zoo and prints what it needs: without a bound, and in half, 30% and 20% of its activations.

python examples/zoo/table.py [NAME ...]

Activations are what the arena holds at the peak, without a bound, beside gradients of parameters: those of a loop over
tiles of the batch are whole until the loop ends. They are told twice: of the step as it runs, and of the same step with
all of the batch at once instead of tiles of it, as frameworks without such a loop have it. The budget of a column
bounds them to a part of the one or of the other; parameters, the optimizer's state and the gradients come on top, as no
plan changes them. The overhead is in FLOPs, beside the step without a bound; a star stands where nothing else fits but
smaller tiles of the batch, whose bits differ, a dash where nothing fits. "torch" is what PyTorch's autograd saves for
the backward (see `torch_models.py`), where PyTorch is there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradloom as gl
from gradloom.engine.report.make_report import make_report
from gradloom.engine.report.schema import MemoryReport
from gradloom.engine.report.wording import human
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import pipeline, run_passes
from gradloom.passes.remat.frontier import Choice
from gradloom.passes.tiling.attention import TileAttention
from gradloom.passes.tiling.batch import TileBatch
from gradloom.passes.tiling.logits import TileLogits
from gradloom.tools.find_recipe import make_recipe

FOLDER = Path(__file__).parent
MODELS = ("vgg16", "resnet50", "mobilenet_v1", "unet", "bert_base", "gpt2_small", "gpt2_xl", "lstm")
SHARES = (0.5, 0.3, 0.2)
TITLES = ("model", "total", "arena", "above its bound", "planned in", "activations", "whole batch", "torch")


def row(name: str) -> list[str]:
    """The cells of one model."""
    ingredients = make_recipe(f"{FOLDER / name}.py:recipe")
    began = time.perf_counter()
    planned = gl.plan_step(*ingredients)
    free = planned.report
    seconds = time.perf_counter() - began
    tiles = (TileBatch, TileLogits, TileAttention)
    graph = run_passes(planned.graph, [step for step in pipeline() if not isinstance(step, tiles)])
    whole = make_report(Choice(plan(graph, planned.plan.threads, outputs_in_arena=True), 0.0), [], 0)
    cells = [
        name,
        human(free.total_bytes),
        human(free.arena_bytes),
        f"{free.arena_bytes / max(free.lower_bound_bytes, 1) - 1:.2%}",
        f"{seconds:.1f} s",
        human(activations(free)),
        human(activations(whole)),
        in_torch(name, ingredients[3]),
    ]
    held = free.total_bytes - activations(free)
    for unit in (activations(free), activations(whole)):
        fits = True
        for share in SHARES:
            # What refuses a budget refuses a smaller one.
            cell = overhead(ingredients, held + int(share * unit), free.flops) if fits else None
            fits = cell is not None
            cells.append(cell or "–")
    return cells


def activations(report: MemoryReport) -> int:
    """Bytes of the arena beside the gradients of parameters that are alive at the peak."""
    return report.arena_bytes - sum(v.bytes for v in report.live(report.peak_phase) if v.kind == "gradient")


def overhead(ingredients: tuple[Any, ...], memory: int, flops: int) -> str | None:
    """FLOPs that a budget adds, and the seconds to plan it; None where it cannot be met."""
    began = time.perf_counter()
    try:
        report = gl.plan_step(*ingredients, memory=memory).report
    except gl.MemoryBudgetError:
        return None
    star = "*" if report.other_bits else ""
    return f"{max(report.flops / flops - 1, 0):+.1%}{star} ({time.perf_counter() - began:.0f} s)"


def in_torch(name: str, batch: Mapping[str, Any]) -> str:
    """What PyTorch saves for the backward; a dash where PyTorch is missing."""
    try:
        import torch_models
    except ImportError:
        return "–"
    return human(torch_models.saved_bytes(name, batch))


def main() -> None:
    """Print the table in Markdown, row by row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MODELS)} (default: all)")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in MODELS]:
        parser.error(f"there is no model {', '.join(unknown)}; there are {', '.join(MODELS)}")
    parts = [f"in {share:.0%} of {unit}" for unit in TITLES[5:7] for share in SHARES]
    print("| " + " | ".join([*TITLES, *parts]) + " |")
    print("|---" * (len(TITLES) + len(parts)) + "|")
    for name in options.names or MODELS:
        print("| " + " | ".join(row(name)) + " |", flush=True)


if __name__ == "__main__":
    main()
