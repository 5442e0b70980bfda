"""`gradloom plan`: the memory of a training step, before anything is allocated."""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optree

from ..engine.compile.targets import target_of, worker_count
from ..engine.report.schema import MemoryReport
from ..engine.report.wording import human
from ..engine.step.budget import budget_of
from ..engine.step.compile_step import compile_step, plan_step
from ..engine.step.largest_batch import LONGEST_BATCH
from ..engine.step.step import StepPlan
from ..ir import ArrayType, type_of
from ..ir.printable import printable, printable_lines
from .check_allow import check_allow
from .command_error import CommandError
from .file_values import loss_scaling_of
from .find_recipe import make_recipe
from .many_cores import Prediction, predict
from .many_ranks import NETWORK, Network, predict_ranks
from .plan_diff import diff_text
from .training_data import RandomBatches

_RUNS = 5
_SECONDS = 0.3
"""Steps are run so often and at least so long."""
FAILED = 1
"""The exit code where a plan takes more than `--fail-over` allows."""
TOO_LITTLE = 2
"""The exit code where ranks do not fit `--memory`, as of any budget that cannot be met."""


@dataclass(frozen=True)
class PlanOptions:
    """What `gradloom plan` was asked for; sizes are texts such as "200MB"."""

    recipe: str
    memory: str | None = None
    target: str = "cpu"
    threads: int | None = None
    accumulate: int = 1
    precision: str = "fp32"
    loss_scaling: str | None = None
    allow: str | None = None
    host_memory: str | None = None
    diff: str | None = None
    fail_over: int | None = None
    largest_batch: bool = False
    curve: int | None = None
    run: bool = False
    cores: int | None = None
    bandwidth: float | None = None
    ranks: int | None = None
    shard: str | None = None
    network: Network | None = None
    batch_size: int | None = None
    json: str | None = None
    html: str | None = None


def run_plan(options: PlanOptions) -> int:
    """Plan, print and write what was asked for. Returns the exit code. Raises `CommandError` for what does not go
    together, and `MemoryBudgetError` where the budget cannot be met.
    """
    if options.ranks is not None:
        return _on_ranks(options, options.ranks)
    if options.shard is not None or options.network is not None or options.batch_size is not None:
        raise CommandError("--shard, --network and --batch-size are of --ranks; give that too")
    if options.largest_batch:
        return _largest_batch(options)
    if options.run and options.curve is None:
        raise CommandError("--run runs the points of --curve; give that too")
    if options.bandwidth is not None and options.cores is None:
        raise CommandError("--bandwidth is of the machine that --cores is of; give that too")
    if options.cores is not None and _saved(options.recipe):
        raise CommandError(f"{options.recipe} is a saved report; --cores needs the recipe")
    named = [name for name in (options.recipe, options.diff) if name is not None]
    check_allow(options.allow, options.memory)
    if options.memory is not None and all(map(_saved, named)):
        raise CommandError(f"{' and '.join(named)}: saved as planned; --memory needs the recipe")
    report, plan = _load(options.recipe, options)
    if options.curve is not None and plan is None:
        raise CommandError(f"{options.recipe} is a saved report; a curve needs the recipe")
    curve = [] if options.curve is None or plan is None else _curve(plan, options)
    predicted = None if options.cores is None else _on_cores(options, options.cores)
    quiet = options.json == "-"
    other = None if options.diff is None else _load(options.diff, options)[0]
    if options.json is not None:
        _write(options.json, _with_figures(report.to_json(), curve, predicted))
    if options.html is not None:
        title = f"One training step of {options.recipe}" + (f" in {options.memory}" if options.memory else "")
        try:
            report.to_html(options.html, title, curve)
        except OSError as error:
            raise CommandError(f"cannot write {options.html}: {error.strerror}") from error
    # Last, because who reads it may stop doing so.
    if not quiet:
        names = printable(options.recipe), printable(str(options.diff))
        print(report if other is None else diff_text(report.printable(), other.printable(), *names))
        if curve:
            print("\n" + _curve_text(curve))
        if predicted is not None:
            print(f"\n{printable_lines(str(predicted))}")
    return _verdict(report, other, options.fail_over, quiet)


def _verdict(report: MemoryReport, other: MemoryReport | None, most: int | None, quiet: bool) -> int:
    if most is None:
        return 0
    if other is None:
        found, what = report.total_bytes, "the step takes"
    else:
        found = other.total_bytes - report.total_bytes
        what = "the step grows by" if found >= 0 else "the step changes by"
    failed = found > most
    if failed or not quiet:
        word = "FAILED" if failed else "ok"
        # What --json prints is to be read by a program.
        out = sys.stderr if quiet else sys.stdout
        print(f"\n{word}: {what} {human(found)} ({found:,} bytes), at most {human(most)} are allowed", file=out)
    return FAILED if failed else 0


def _load(name: str, options: PlanOptions) -> tuple[MemoryReport, StepPlan | None]:
    """The report of a recipe, or one that `--json` saved. Raises `CommandError` where it is neither."""
    if not _saved(name):
        plan = _planned(name, options, options.memory)
        return plan.report, plan
    try:
        return MemoryReport.from_json(Path(name).read_text("utf-8", errors="replace")), None
    except OSError as error:
        raise CommandError(f"cannot read {name}: {error.strerror}") from error
    except ValueError as error:
        raise CommandError(f"{name}: {error}") from error


def _saved(name: str) -> bool:
    return name.endswith(".json")


def _planned(recipe: str, options: PlanOptions, memory: str | int | None) -> StepPlan:
    return plan_step(
        *make_recipe(recipe),
        memory=memory,
        target=options.target,
        threads=options.cores if options.threads is None else options.threads,
        accumulate=options.accumulate,
        precision=options.precision,
        loss_scaling=loss_scaling_of(options.loss_scaling),
        allow=options.allow if memory is not None else None,
        host_memory=options.host_memory,
        cores=options.cores,
    )


def _on_cores(options: PlanOptions, cores: int) -> Prediction:
    """What the step takes on so many cores."""
    given = {name: getattr(options, name) for name in ("memory", "target", "accumulate", "precision", "host_memory")}
    return predict(options.recipe, cores, options.bandwidth, **given)


def _on_ranks(options: PlanOptions, ranks: int) -> int:
    """Print, and write, what each of so many ranks takes. The exit code."""
    alone = PlanOptions(options.recipe, ranks=ranks)
    others = ("memory", "target", "threads", "shard", "network", "batch_size", "json", "html")
    if replace(alone, **{name: getattr(options, name) for name in others}) != options:
        raise CommandError(f"--ranks goes with {', '.join('--' + name.replace('_', '-') for name in others)} alone")
    if _saved(options.recipe):
        raise CommandError(f"{options.recipe} is a saved report; --ranks needs the recipe")
    if options.memory is not None and "%" in options.memory:
        raise CommandError("--memory with --ranks is that of each rank, in bytes, such as 16GB")
    memory = budget_of(options.memory).nbytes
    machine = target_of(options.target)
    workers = worker_count(options.threads, machine)
    threads = None if machine.is_gpu else workers
    network = options.network or Network.parsed(NETWORK)
    asked = (options.recipe, ranks, options.shard, network, machine, threads, memory, options.batch_size)
    found = predict_ranks(*asked)
    if options.json is not None:
        _write(options.json, json.dumps(found.to_json()))
    if options.html is not None:
        _write(options.html, found.to_html(f"{options.recipe} on many ranks"))
    if options.json != "-":
        print(printable_lines(str(found)))
    if memory is None or found.of_asked.nbytes <= memory:
        return 0
    if options.json == "-":  # what is printed is to be read by a program
        print(printable_lines("\n".join(found.fits)), file=sys.stderr)
    return TOO_LITTLE


def _largest_batch(options: PlanOptions) -> int:
    if options.memory is None:
        raise CommandError("--largest-batch needs the memory that the step may take; give --memory, such as 4GB")
    alone = (options.diff, options.fail_over is not None, options.curve, options.run, options.html, options.cores)
    if any(alone) or options.allow is not None:
        others = "--target, --host-memory, --threads, --accumulate, --precision, --loss-scaling and --json"
        raise CommandError(f"--largest-batch goes with --memory, {others} alone")
    if _saved(options.recipe):
        raise CommandError(f"{options.recipe} is a saved report; the largest batch needs the recipe")
    largest = _planned(options.recipe, options, None).largest_batch(options.memory)
    if options.json is not None:
        answer = {"recipe": options.recipe, "memory": options.memory, "largest_batch": largest}
        _write(options.json, json.dumps(answer))
    if not largest:
        least = f"gradloom plan {options.recipe} --memory {options.memory} says the least that the step takes"
        raise CommandError(f"no batch is small enough for {options.memory}: {least}, and what lives then")
    if options.json != "-":
        more = " or more" if largest == LONGEST_BATCH * options.accumulate else ""
        print(f"the largest batch that fits {options.memory} is {largest:,}{more}")
    return 0


def _curve(plan: StepPlan, options: PlanOptions) -> list[dict[str, Any]]:
    """The points of the curve, with `slowdown` and `measured` as factors of the fastest."""
    points: list[dict[str, Any]] = [
        {
            "total_bytes": point.total_bytes,
            "arena_bytes": point.arena_bytes,
            "recompute_flops": point.recompute_flops,
            "slowdown": 1 + point.slowdown,
        }
        for point in plan.curve(options.curve or 1)
    ]
    if options.run:
        _measure(points, options)
    return points


def _measure(points: list[dict[str, Any]], options: PlanOptions) -> None:
    """Run every point, in turn, so that what else the machine does meets them all alike."""
    steps = []
    for point in points:
        ingredients = make_recipe(options.recipe)
        specs = optree.tree_map(lambda leaf: leaf if isinstance(leaf, ArrayType) else type_of(leaf), ingredients.batch)
        batch = next(RandomBatches(specs, seed=0).epoch(0))
        steps.append(
            (
                compile_step(
                    *ingredients,
                    memory=point["total_bytes"],
                    target=options.target,
                    threads=options.threads,
                    accumulate=options.accumulate,
                    precision=options.precision,
                    loss_scaling=loss_scaling_of(options.loss_scaling),
                    host_memory=options.host_memory,
                ),
                batch,
            )
        )
    seconds: list[list[float]] = [[] for _ in points]
    began = now = time.perf_counter()
    # The first round is to warm up.
    while len(seconds[0]) <= _RUNS or now - began < _SECONDS * len(steps):
        for times, (step, batch) in zip(seconds, steps):
            now = time.perf_counter()
            step(batch)
            times.append(time.perf_counter() - now)
    medians = [statistics.median(times[1:]) for times in seconds]
    for point, (step, _), median in zip(points, steps, medians):
        point["measured"] = median / medians[0]
        point["seconds"] = median
        assert step.report.total_bytes <= point["total_bytes"]


def _curve_text(points: list[dict[str, Any]]) -> str:
    lines = ["memory against time:"]
    for point in points:
        measured = f"  really {point['measured']:.2f}x, {1000 * point['seconds']:.3g} ms" if "measured" in point else ""
        lines.append(
            f"  total {human(point['total_bytes']):>10}  arena {human(point['arena_bytes']):>10}  "
            f"predicted {point['slowdown']:.2f}x{measured}"
        )
    return "\n".join(lines)


def _with_figures(text: str, curve: list[dict[str, Any]], predicted: Prediction | None) -> str:
    """The report as JSON, with what else was asked for."""
    more: dict[str, Any] = {"curve": curve} if curve else {}
    if predicted is not None:
        more["on_cores"] = predicted.to_json()
    return text if not more else json.dumps({**json.loads(text), **more}, indent=1)


def _write(path: str, text: str) -> None:
    if path == "-":
        print(text)
        return
    try:
        Path(path).write_text(text + "\n", "utf-8")
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from error
