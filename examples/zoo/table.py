"""Plans every model of the zoo and prints what it needs: without a bound, and in half, 30% and 20% of its activations.

python examples/zoo/table.py [NAME ...]

The budget of a column bounds the arena to that part of the arena that the step takes without one; parameters and the
optimizer's state come on top, as no plan changes them. The overhead is in FLOPs, beside the step without a bound.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import gradloom as gl
from gradloom.engine.report import human
from gradloom.tools.find_recipe import make_recipe

FOLDER = Path(__file__).parent
MODELS = ("vgg16", "resnet50", "mobilenet_v1", "unet", "bert_base", "gpt2_small", "gpt2_xl", "lstm")
SHARES = (0.5, 0.3, 0.2)


def row(name: str) -> list[str]:
    """The cells of one model. A budget that cannot be met is a dash."""
    ingredients = make_recipe(f"{FOLDER / name}.py:recipe")
    began = time.perf_counter()
    free = gl.plan_step(*ingredients).report
    seconds = time.perf_counter() - began
    held = free.total_bytes - free.arena_bytes
    cells = [
        name,
        human(free.total_bytes),
        human(free.lower_bound_bytes),
        human(free.arena_bytes),
        f"{free.arena_bytes / max(free.lower_bound_bytes, 1) - 1:.2%}",
        f"{seconds:.1f} s",
    ]
    for share in SHARES:
        began = time.perf_counter()
        try:
            report = gl.plan_step(*ingredients, memory=held + int(share * free.arena_bytes)).report
        except gl.MemoryBudgetError:
            # What refuses a budget refuses a smaller one.
            cells += ["–"] * len(SHARES[SHARES.index(share) :])
            break
        seconds = time.perf_counter() - began
        cells.append(f"+{report.flops / free.flops - 1:.1%} ({seconds:.0f} s)")
    return cells


def main() -> None:
    """Print the table in Markdown, row by row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MODELS)} (default: all)")
    names = parser.parse_args().names or MODELS
    print("| model | total | at least | arena | above it | planned in | in 50% | in 30% | in 20% |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in names:
        print("| " + " | ".join(row(name)) + " |", flush=True)


if __name__ == "__main__":
    main()
