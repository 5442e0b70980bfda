"""`gradloom diagnose`: some steps of a recipe, and how activations, gradients and updates go through its layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from rich.console import Console

from ..engine.diagnosis.diagnosis import Diagnosis
from ..engine.diagnosis.words import diverged
from ..engine.step.compile_step import compile_step
from ..engine.step.step import Step
from .command_error import CommandError
from .find_recipe import make_recipe
from .say import say
from .training_data import OF_MNIST, RandomBatches, TrainingData, training_data


@dataclass(frozen=True)
class DiagnoseOptions:
    """What `gradloom diagnose` was asked for."""

    recipe: str
    steps: int
    batch_size: int | None = None
    seed: int = 0
    memory: str | None = None
    target: str = "cpu"
    cores: int | None = None
    threads: int | None = None
    json: str | None = None
    html: str | None = None
    plot: str | None = None


def run_diagnose(options: DiagnoseOptions, console: Console) -> int:
    """Run the steps, print the diagnosis of the last one, and write what was asked for. The exit code.

    Where the loss of a step is not finite, the step before is diagnosed. Raises `CommandError` where a file cannot be
    written.
    """
    made = make_recipe(options.recipe)
    data: TrainingData
    if options.recipe in OF_MNIST and options.batch_size is None:
        # Their images come from a file, of which this has no need.
        data = TrainingData(RandomBatches(made.batch, options.seed), made.batch)
    elif options.recipe in OF_MNIST:
        raise CommandError(f"{options.recipe} is diagnosed with random images of its own batch; leave --batch-size out")
    else:
        data = training_data(options.recipe, made, options.batch_size, options.seed)
    step = compile_step(
        *made[:3],
        data.batch,
        memory=options.memory,
        target=options.target,
        cores=options.cores,
        threads=options.threads,
        seed=options.seed,
        diagnose=True,
    )
    diagnosis, broken = _run(step, data, options.steps)
    _write(options, diagnosis)
    if options.json == "-":
        print(diagnosis.to_json())
        return 0
    _show(diagnosis, console)
    if broken is not None:
        say(console, f"step {broken.step}: {broken.findings[0]}")
    if data.arrays is None:
        say(console, "the data is random")
    return 0


def _run(step: Step, data: TrainingData, steps: int) -> tuple[Diagnosis, Diagnosis | None]:
    """The diagnosis of the last step whose loss is finite, and that of one after it whose loss is not, if there is one:
    of what led to it the numbers of the step before say more. A loss that rose is told with the update that did it.
    """
    done: list[Diagnosis] = []
    broken: Diagnosis | None = None
    for _, batch in zip(range(steps), _batches(data)):
        step(batch)
        now = step.diagnosis
        if not math.isfinite(now.loss):
            broken = now
            break
        done.append(now)
    if not done:
        assert broken is not None
        return broken, None
    why = diverged(done if broken is None else [*done, broken])
    return replace(done[-1], earlier=(why,) if why else ()), broken


def _batches(data: TrainingData) -> Iterator[Any]:
    for epoch in count():
        yield from data.loader.epoch(epoch)


def _show(diagnosis: Diagnosis, console: Console) -> None:
    """With lines as wide as the terminal, or as plain text where it is none."""
    if not console.is_terminal:
        say(console, str(diagnosis))
        return
    console.print(diagnosis)


def _write(options: DiagnoseOptions, diagnosis: Diagnosis) -> None:
    json, title = options.json, f"How a step of {options.recipe} goes through its layers"
    if json is not None and json != "-":
        _to(json, lambda: _write_text(json, diagnosis.to_json()))
    if options.html is not None:
        html = options.html
        _to(html, lambda: diagnosis.to_html(html, title))
    if options.plot is not None:
        plot = options.plot
        _to(plot, lambda: diagnosis.plot(plot))


def _write_text(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text + "\n")


def _to(path: str, write: Callable[[], Any]) -> None:
    try:
        write()
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from error
    except (ImportError, ValueError) as error:
        raise CommandError(str(error)) from error
