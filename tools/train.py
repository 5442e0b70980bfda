"""`gradloom train`: a run that shows how it goes, and that can be stopped and taken up again without a trace."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optree
from rich.console import Console

from ..engine import array_api as xp
from ..engine import optim
from ..engine.saving.checkpoint_file import CheckpointError, check_savable, open_checkpoint
from ..engine.step.compile_step import compile_step
from ..engine.step.refusal import MemoryBudgetError
from ..engine.step.step import Step
from ..ir import Array
from .command_error import CommandError
from .file_values import brief
from .find_recipe import make_recipe
from .interruptions import Interruptions
from .progress import TrainingProgress
from .recipes import RECIPES, Ingredients
from .run_settings import Settings
from .saves import Saves, load_checkpoint
from .say import say
from .training_data import OF_MNIST, Examples, TrainingData, training_data

OPTIMIZERS: dict[str, optim.Optimizer] = {
    "sgd": optim.SGD(0.1),
    "momentum": optim.SGD(0.05, momentum=0.9),
    "adam": optim.Adam(1e-3),
    "adamw": optim.AdamW(1e-3),
}
"""What `--optimizer` says, with the learning rates that hold without `--lr`."""

_METADATA = "training"
_TEST_BATCH = 1000


@dataclass(frozen=True)
class Run:
    """What `train` was asked for: the settings that were given, by name, and what changes no bit of the result."""

    given: Mapping[str, Any]
    data: str | None = None
    threads: int | None = None
    resume: str | None = None
    out: str | None = None

    def command_to_go_on(self, out: str, recipe: str | None) -> str:
        """What to type so that a run goes on whose checkpoint is `out`; what that holds need not be given again."""
        words = ["gradloom", "train", *([] if recipe is None else [recipe])]
        for option, value in (("--data", self.data), ("--resume", out), ("--threads", self.threads)):
            if value is not None:
                words += [f"{option}={value}"] if str(value).startswith("-") else [option, str(value)]
        return shlex.join(words)


def train(run: Run, console: Console, interruptions: Interruptions | None = None) -> int:
    """Train, print how it goes, and write the checkpoint after each epoch, every few minutes, and when Ctrl-C is
    pressed or a signal ends the run. The exit code.

    The epoch and the place in it follow from the number of steps done, which the checkpoint holds with the parameters
    and the optimizer's state. A run that was interrupted and resumed therefore ends with the same bits.
    """
    interruptions = interruptions or Interruptions()
    text = None if run.resume is None else _metadata_of(run.resume)
    earlier = None if run.resume is None or text is None else _settings_in(run.resume, text)
    settings = Settings.fresh(run.given) if earlier is None else earlier.resumed(run.given, str(run.resume))
    out = run.out or run.resume or f"gradloom-{settings.recipe.rpartition(':')[2]}.safetensors"
    check_place(out)
    ingredients = make_recipe(settings.recipe)
    data = training_data(settings.recipe, ingredients, settings.batch_size, settings.seed, run.data)
    step = compile_step(
        ingredients.model,
        ingredients.loss_fn,
        _optimizer(ingredients, settings, settings.epochs * data.steps_per_epoch),
        data.batch,
        memory=settings.memory,
        threads=run.threads,
        seed=settings.seed,
    )
    settings = replace(settings, data=_digest_of_data(data), step=_digest_of_step(step))
    if earlier is not None and earlier.data not in (None, settings.data) and settings.recipe in OF_MNIST:
        raise CommandError(f"{run.resume} was trained with other data; give these with --data")
    if run.resume is not None:
        load_checkpoint(step, run.resume, {_METADATA: text}, lambda word: say(console, word))
        if settings.lr is not None and settings.lr != step.learning_rate:
            step.learning_rate = settings.lr  # the file is not of a run, and brought its own
    for word in [] if earlier is None else _differences(earlier, settings):
        say(console, f"note: {word}")
    say(console, str(step.report))
    to_go_on = run.command_to_go_on(out, None if settings.recipe in RECIPES else settings.recipe)
    saves = Saves(step, out, lambda: {_METADATA: settings.to_json()}, lambda word: say(console, word))
    with interruptions.held():
        return _go_on(step, data, settings, out, to_go_on, saves, console, interruptions)


def _go_on(
    step: Step,
    data: TrainingData,
    settings: Settings,
    out: str,
    to_go_on: str,
    saves: Saves,
    console: Console,
    interruptions: Interruptions,
) -> int:
    epochs, length, begun = settings.epochs, data.steps_per_epoch, step.steps
    test = _Test(step, interruptions.check)
    result = ""
    if begun >= epochs * length:
        say(console, f"nothing to do: {begun // length} epochs are done; --epochs with a larger number goes on")
        return 0
    try:
        interruptions.check()
        with TrainingProgress(epochs, length, begun, console) as progress:
            for epoch in range(begun // length, epochs):
                for batch in data.epoch(epoch, step.steps - epoch * length):
                    progress.step(epoch, step(batch))
                    interruptions.check()
                    saves.after_step()
                if data.test is not None:
                    result = test(*data.test)
                progress.end_epoch(epoch, result)
                if epoch + 1 < epochs:
                    saves.save()
        saves.save_at_last()
    except KeyboardInterrupt:
        if saves.nothing_to_save:
            say(console, "interrupted before a step was done; nothing was saved")
            return interruptions.exit_code
        epoch, place = divmod(step.steps, length)
        where = "after the last step" if epoch >= epochs else f"in epoch {epoch + 1}, after {place} of {length} steps"
        saves.save_at_last()
        say(console, f"interrupted {where}")
        say(console, f"saved {out}; to go on: {to_go_on}")
        return interruptions.exit_code
    except BaseException as error:
        # Whatever it was, such as a terminal that is gone: what was trained is kept.
        if not isinstance(error, CheckpointError) and not saves.nothing_to_save:
            saves.save_before(error)
        raise
    if result:
        say(console, result)
    say(console, f"saved {out}")
    return 0


def check_place(out: str) -> None:
    """Raise an error where a checkpoint cannot be written, before anything takes time."""
    if not Path(out).parent.is_dir():
        raise CommandError(f"cannot write {out}: there is no folder {Path(out).parent}")
    check_savable(out)


class _Test:
    """Tells how many examples a step's model classifies right, in batches that fit the step's budget."""

    def __init__(self, step: Step, check: Callable[[], None]) -> None:
        self._classify = step.bind(lambda model, x: xp.argmax(model(x), axis=1))
        self._check = check
        self._rows = _TEST_BATCH

    def __call__(self, x: Array, y: Array) -> str:
        right = start = 0
        while start < len(x):
            rows = slice(start, start + self._rows)
            try:
                right += int((self._classify(x[rows]) == y[rows]).sum())
            except MemoryBudgetError:
                if self._rows == 1:
                    return "not tested: the budget has no room for that"
                self._rows //= 2
            else:
                start += self._rows
            self._check()
        return f"test accuracy {right / len(x):.4f}"


def _optimizer(ingredients: Ingredients, settings: Settings, steps: int) -> optim.Optimizer:
    """The optimizer of a run of so many steps: over these a cycle of the learning rate is stretched."""
    optimizer = ingredients.optimizer if settings.optimizer is None else OPTIMIZERS[settings.optimizer]
    if settings.lr is not None:
        return optimizer.with_options(lr=settings.lr)
    if isinstance(optimizer.lr, optim.OneCycle):
        return optimizer.with_options(lr=replace(optimizer.lr, steps=steps))
    return optimizer


def _metadata_of(path: str) -> str | None:
    """What a checkpoint says of the run that wrote it; `None` for a file that no run wrote."""
    with open_checkpoint(path) as file:
        return file.metadata.get(_METADATA)


def _settings_in(path: str, text: str) -> Settings:
    try:
        settings = Settings.from_json(text)
    except ValueError as error:
        raise CommandError(f"{path} does not say how it was trained: {error}") from error
    if settings.optimizer not in (None, *OPTIMIZERS):
        raise CommandError(f"{path} was trained with the unknown optimizer {brief(settings.optimizer)}")
    return settings


def _differences(earlier: Settings, now: Settings) -> list[str]:
    """What is not as it was when the run began, though nobody asked for it."""
    found: list[str] = []
    if earlier.recipe != now.recipe:
        found.append(f"the run began with the recipe {brief(earlier.recipe)}, it goes on with {now.recipe}")
    if earlier.step not in (None, now.step):
        found.append("the step is another than the run began with: the code of the recipe or of Gradloom was changed")
    if earlier.data != now.data and earlier.step is not None:
        found.append("the examples are others than those that the run began with")
    return found


def _digest_of_data(data: TrainingData) -> str | None:
    if not isinstance(data, Examples):
        return None
    digest = hashlib.sha256()
    for path, leaf in zip(*optree.tree_flatten_with_path(data.arrays)[:2]):
        digest.update(repr((path, leaf.dtype.str, leaf.shape)).encode())
        digest.update(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


_SOURCE = re.compile(r' at="(?:[^"\\]|\\.)*"')


def _digest_of_step(step: Step) -> str:
    """Of what is computed, wherever it stands in the sources."""
    return hashlib.sha256(_SOURCE.sub("", str(step.graph)).encode()).hexdigest()
