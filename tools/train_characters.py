"""`gradloom train gpt` and `lstm`: shows how a model of text learns, judges it on held-out text, lets it write some."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..engine.fit.interruptions import Interruptions
from ..engine.saving.checkpoint_file import open_checkpoint
from ..engine.step.step import Step
from .command_error import CommandError
from .ranks import ranks_in_words, shard_of
from .recipes.characters import Progress as Stage
from .recipes.characters import Settings, train_characters
from .recipes.corpus import python_documentation, read_text
from .recipes.gpt import Settings as GPTSettings
from .recipes.lstm import Settings as LSTMSettings
from .say import say
from .train import Run, check_place

KINDS: dict[str, type[Settings]] = {kind.name: kind for kind in (GPTSettings, LSTMSettings)}
"""The recipes that learn from text."""

_SAMPLE = 500


def kind_of_checkpoint(path: str) -> type[Settings] | None:
    """The kind of model of characters that a checkpoint says it is of, if it is of one."""
    with open_checkpoint(path) as file:
        return next((kind for name, kind in KINDS.items() if name in file.metadata), None)


def run_characters(
    kind: type[Settings],
    run: Run,
    steps: int | None,
    minutes: float | None,
    console: Console,
    interruptions: Interruptions | None = None,
) -> int:
    """Train a model on the text of `run.data`, by default Python's documentation. The exit code."""
    interruptions = interruptions or Interruptions()
    for name in ("epochs", "optimizer"):
        if name in run.given:
            raise CommandError(f"--{name} does not go with {kind.name}; give --steps or --minutes")
    out = run.out or run.resume or f"gradloom-{kind.name}.safetensors"
    check_place(out)
    changed = {name: run.given[name] for name in ("batch_size", "lr", "seed") if name in run.given}
    settings = replace(kind(), **changed) if changed or run.resume is None else kind
    text = python_documentation() if run.data is None else read_text(run.data)
    saved: list[str] = []
    to_go_on = run.command_to_go_on(out, kind.name)
    try:
        with _Shown(console) as shown:
            trained = train_characters(
                text,
                settings,
                steps,
                minutes,
                threads=run.threads,
                memory=run.given.get("memory"),
                allow=run.given.get("allow"),
                precision=run.given.get("precision"),
                loss_scaling=run.given.get("loss_scaling"),
                target=run.given.get("target"),
                cores=run.given.get("cores"),
                ranks=run.ranks,
                shard=shard_of(run.shard),
                parts=run.given.get("parts"),
                resume=run.resume,
                out=out,
                on_compiled=lambda step: _say_of(step, console),
                on_progress=shown.update,
                on_interrupted=lambda: saved.append(f"saved {out}; to go on: {to_go_on}"),
                say=lambda word: say(console, word),
                interruptions=interruptions,
            )
    except KeyboardInterrupt:
        say(console, "; ".join(["interrupted", *(saved or ["nothing was trained, and nothing was saved"])]))
        return interruptions.exit_code
    try:
        say(console, f"held-out text: {_figures(trained.held_out())}")
        say(console, f"saved {out}; it writes:\n")
        if trained.writes:
            say(console, trained.sample(_SAMPLE, seed=run.given.get("seed", 0)).expandtabs())
    except KeyboardInterrupt:
        say(console, f"interrupted; saved {out}")
        return interruptions.exit_code
    return 0


def _say_of(step: Step, console: Console) -> None:
    parallel = step._options.get("ranks")
    if parallel is not None:
        say(console, ranks_in_words(step.ranks, parallel.parts))
    say(console, str(step.report))


def _figures(nats: float) -> str:
    return f"{nats:.4f} nats, {nats / math.log(2):.4f} bits per character"


class _Shown:
    """A bar on a terminal, and everywhere a line for each look at the held-out text."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._loss = 0.0
        self._count = 0
        columns = (
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(bar_width=16),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[loss]}"),
        )
        self._bar = Progress(*columns, console=console, disable=not console.is_interactive, transient=True)
        self._task: Any = self._bar.add_task("", total=None, loss="")

    def __enter__(self) -> _Shown:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def update(self, progress: Stage) -> None:
        """A step is done."""
        if not self._bar.live.is_started:
            self._bar.start()  # not before: it starts a thread, and then the compiler could not fork
        self._loss += progress.loss
        self._count += 1
        mean = f"loss {self._loss / self._count:.4f}"
        self._bar.update(self._task, completed=progress.step, total=progress.steps, loss=mean)
        if progress.held_out is not None:
            line = f"step {progress.step}/{progress.steps}  {mean}  held-out {_figures(progress.held_out)}"
            say(self._console, f"{line}  {progress.seconds:.0f} s")
            self._loss, self._count = 0.0, 0
