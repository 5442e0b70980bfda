"""Plans every model of the zoo and prints what it needs: without a bound, and in half, 30% and 20% of its activations.

python examples/zoo/table.py [--arena] [NAME ...]

Activations are what the arena holds at the peak, without a bound, beside gradients of parameters: those of a loop over
tiles of the batch are whole until the loop ends. The budget of a column bounds them to that part; parameters, the
optimizer's state and those gradients come on top, as no plan changes them. With --arena the part is of the whole arena.
The overhead is in FLOPs, beside the step without a bound; a star stands where nothing else fits but smaller tiles of
the batch, whose bits differ.
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


def row(name: str, arena: bool) -> list[str]:
    """The cells of one model. A budget that cannot be met is a dash; it is a part of the activations, or of `arena`."""
    ingredients = make_recipe(f"{FOLDER / name}.py:recipe")
    began = time.perf_counter()
    free = gl.plan_step(*ingredients).report
    seconds = time.perf_counter() - began
    kept = 0 if arena else sum(v.bytes for v in free.live(free.peak_phase) if v.kind == "gradient")
    held = free.total_bytes - free.arena_bytes + kept
    cells = [
        name,
        human(free.total_bytes),
        human(free.lower_bound_bytes),
        human(free.arena_bytes),
        human(free.arena_bytes - kept),
        f"{free.arena_bytes / max(free.lower_bound_bytes, 1) - 1:.2%}",
        f"{seconds:.1f} s",
    ]
    for share in SHARES:
        began = time.perf_counter()
        try:
            report = gl.plan_step(*ingredients, memory=held + int(share * (free.arena_bytes - kept))).report
        except gl.MemoryBudgetError:
            # What refuses a budget refuses a smaller one.
            cells += ["–"] * len(SHARES[SHARES.index(share) :])
            break
        seconds = time.perf_counter() - began
        star = "*" if report.other_bits else ""
        cells.append(f"{max(report.flops / free.flops - 1, 0):+.1%}{star} ({seconds:.0f} s)")
    return cells


def main() -> None:
    """Print the table in Markdown, row by row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MODELS)} (default: all)")
    parser.add_argument("--arena", action="store_true", help="budgets are parts of the whole arena")
    options = parser.parse_args()
    print("| model | total | at least | arena | bounded | above it | planned in | in 50% | in 30% | in 20% |")
    print("|---" * 10 + "|")
    for name in options.names or MODELS:
        print("| " + " | ".join(row(name, options.arena)) + " |", flush=True)


if __name__ == "__main__":
    main()
