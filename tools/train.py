"""`gradloom train`: a run that shows how it goes, and that can be stopped and taken up again without a trace."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optree
from rich.console import Console

from ..engine.data import Loader
from ..engine.fit.batches_of import batches_of, batches_to_train
from ..engine.fit.callbacks import EarlyStopping
from ..engine.fit.evaluate import Evaluator, evaluator_of
from ..engine.fit.fit import METADATA, Fitting, fit_metadata
from ..engine.fit.history import LOG_SUFFIXES
from ..engine.fit.interruptions import Interruptions
from ..engine.fit.means import in_words
from ..engine.ranks import Ranks, one
from ..engine.saving.checkpoint_file import check_savable, open_checkpoint
from ..engine.step.compile_step import compile_step
from ..engine.step.step import Step
from ..engine.tracing.precisions import is_precision
from .check_allow import check_allow
from .command_error import CommandError
from .file_values import brief, loss_scaling_of
from .find_recipe import make_recipe
from .load_checkpoint import load_checkpoint
from .optimizers import OPTIMIZERS, SCHEDULES, check_trains, of_run
from .plot_history import check_plot, plot_history
from .ranks import check_parts, ranks_in_words, shard_of
from .recipes import RECIPES
from .run_settings import Settings
from .say import say
from .training_data import OF_MNIST, TrainingData, training_data

_METADATA = "training"


@dataclass(frozen=True)
class Run:
    """What `train` was asked for: the settings that were given, by name, and what changes no bit of the result."""

    given: Mapping[str, Any]
    data: str | None = None
    threads: int | None = None
    resume: str | None = None
    out: str | None = None
    log: str | None = None
    plot: str | None = None
    ranks: Ranks | None = None
    """Who trains; `None` is this process, with whole batches."""
    shard: str | None = None
    """What each rank holds a shard of."""

    def command_to_go_on(self, out: str, recipe: str | None) -> str:
        """What to type so that a run goes on whose checkpoint is `out`; what that holds need not be given again."""
        words = ["gradloom", "train", *([] if recipe is None else [recipe])]
        for option, value in (
            ("--data", self.data),
            ("--resume", out),
            ("--threads", self.threads),
            ("--log", self.log),
            ("--plot", self.plot),
        ):
            if value is not None:
                words += [f"{option}={value}"] if str(value).startswith("-") else [option, str(value)]
        return shlex.join(words)


def train(run: Run, console: Console, interruptions: Interruptions | None = None) -> int:
    """Train, print how it goes, and write the checkpoint after each epoch, every few minutes, and when Ctrl-C is
    pressed or a signal ends the run. The exit code.

    A run that was interrupted and resumed ends with the same bits.
    """
    interruptions = interruptions or Interruptions()
    text = None if run.resume is None else _metadata_of(run.resume)
    earlier = None if run.resume is None or text is None else _settings_in(run.resume, text)
    settings = Settings.fresh(run.given) if earlier is None else earlier.resumed(run.given, str(run.resume))
    check_allow(settings.allow, settings.memory)
    out = run.out or run.resume or f"gradloom-{settings.recipe.rpartition(':')[2]}.safetensors"
    check_place(out)
    if run.plot is not None:
        check_plot(run.plot)
    if run.log is not None:
        _check_log(run.log)
    ingredients = make_recipe(settings.recipe)
    data = training_data(settings.recipe, ingredients, settings.batch_size, settings.seed, run.data)
    steps = settings.epochs * data.steps_per_epoch
    ranks = one() if run.ranks is None and settings.parts is not None else run.ranks
    check_parts(ranks, settings.parts)
    optimizer = of_run(ingredients.optimizer, settings.optimizer, settings.lr, settings.schedule, steps)
    if settings.optimizer is not None:
        check_trains(optimizer, ingredients.model)
    step = compile_step(
        ingredients.model,
        ingredients.loss_fn,
        optimizer,
        data.batch,
        memory=settings.memory,
        target=settings.target or "cpu",
        cores=settings.cores,
        threads=run.threads,
        clip_norm=settings.clip_norm,
        precision=settings.precision or "fp32",
        loss_scaling=loss_scaling_of(settings.loss_scaling),
        allow=settings.allow,
        seed=settings.seed,
        ranks=ranks,
        shard=None if ranks is None else shard_of(run.shard),
        parts=None if ranks is None else settings.parts,
    )
    if ranks is not None:
        settings = replace(settings, parts=step._options["ranks"].parts)
        say(console, ranks_in_words(ranks, settings.parts or 1))
    settings = replace(settings, data=_digest_of_data(data), step=_digest_of_step(step))
    if earlier is not None and earlier.data not in (None, settings.data) and settings.recipe in OF_MNIST:
        raise CommandError(f"{run.resume} was trained with other data; give these with --data")
    fitting = Fitting(
        step,
        batches_to_train(step, data.loader),
        settings.epochs,
        *_evaluation(settings.recipe, step, data),
        [] if settings.early_stop is None else [EarlyStopping(patience=settings.early_stop)],
        console,
        interruptions,
    )
    if run.resume is not None:
        progress = fit_metadata(run.resume)
        load_checkpoint(step, run.resume, {_METADATA: text, METADATA: progress}, lambda word: say(console, word))
        if progress is not None:
            fitting.take_up_metadata(run.resume, progress)
        else:
            fitting.begin_at(*divmod(step.steps, data.steps_per_epoch))
        if settings.lr is not None and settings.schedule is None and settings.lr != step.learning_rate:
            step.learning_rate = settings.lr  # the file is not of a run, and brought its own
    for word in [] if earlier is None else _differences(earlier, settings):
        say(console, f"note: {word}")
    say(console, str(step.report))
    if fitting.is_over:
        done = len(fitting.history) or step.steps // data.steps_per_epoch
        more = f"{done} epochs are done; --epochs with a larger number goes on"
        if fitting.history.stopped:
            more = f"{fitting.history.stopped}; --early-stop with a larger number goes on"
        say(console, f"nothing to do: {more}")
        return 0
    with interruptions.held():
        return _run(run, settings, fitting, step, out, console, interruptions)


def _run(
    run: Run, settings: Settings, fitting: Fitting, step: Step, out: str, console: Console, came: Interruptions
) -> int:
    """Train to the last epoch, and say what came of it. The exit code."""
    begun = step.steps
    try:
        history = fitting.run(out, run.log, {_METADATA: settings.to_json()})
    except KeyboardInterrupt:
        if step.steps == begun:
            say(console, "interrupted before a step was done; nothing was saved")
        else:
            say(console, f"interrupted {fitting.place()}")
            to_go_on = run.command_to_go_on(out, None if settings.recipe in RECIPES else settings.recipe)
            say(console, f"saved {out}; to go on: {to_go_on}")
        return came.exit_code
    if run.plot is not None:
        plot_history(history, run.plot)
    if history.stopped:
        say(console, f"stopped: {history.stopped}")
    validated = {name: value for name, value in history.rows[-1].items() if name.startswith("val_")}
    if validated:
        say(console, in_words(validated))
    say(console, f"saved {out}")
    return 0


def _evaluation(recipe: str, step: Step, data: TrainingData) -> tuple[Loader | None, Evaluator | None]:
    """The batches to evaluate with, and what evaluates."""
    if data.validate is None:
        return None, None
    try:
        return batches_of(step, data.validate), evaluator_of(step, data.metrics)
    except (TypeError, ValueError) as error:
        raise CommandError(f"the validation data and metrics of the recipe {recipe}: {error}") from error


def check_place(out: str) -> None:
    """Raise an error where a checkpoint cannot be written, before anything takes time."""
    if not Path(out).parent.is_dir():
        raise CommandError(f"cannot write {out}: there is no folder {Path(out).parent}")
    check_savable(out)


def _check_log(path: str) -> None:
    """Raise `CommandError` where a log cannot be written, before anything takes time."""
    folder = Path(path).parent
    if Path(path).suffix not in LOG_SUFFIXES:
        raise CommandError(f"--log is a file that ends in {' or '.join(LOG_SUFFIXES)}, got {path}")
    if not folder.is_dir():
        raise CommandError(f"cannot write {path}: there is no folder {folder}")
    if Path(path).is_dir() or not os.access(path if Path(path).exists() else folder, os.W_OK):
        raise CommandError(f"cannot write {path}")


def _metadata_of(path: str) -> str | None:
    """What a checkpoint says of the run that wrote it; `None` for a file that no run wrote."""
    with open_checkpoint(path) as file:
        return file.metadata.get(_METADATA)


def _settings_in(path: str, text: str) -> Settings:
    try:
        settings = Settings.from_json(text)
    except ValueError as error:
        raise CommandError(f"{path} does not say how it was trained: {error}") from error
    for what, name, known in (
        ("optimizer", settings.optimizer, OPTIMIZERS),
        ("schedule", settings.schedule, SCHEDULES),
    ):
        if name not in (None, *known):
            raise CommandError(f"{path} was trained with the unknown {what} {brief(name)}")
    if settings.precision is not None and not is_precision(settings.precision):
        raise CommandError(f"{path} was trained with the unknown precision {brief(settings.precision)}")
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
    if data.arrays is None:
        return None
    digest = hashlib.sha256()
    for path, leaf in zip(*optree.tree_flatten_with_path(data.arrays)[:2]):
        digest.update(repr((path, leaf.dtype.str, leaf.shape)).encode())
        digest.update(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


_SOURCE = re.compile(r' at="(?:[^"\\]|\\.)*"|\branks=\d+')
"""What differs where the same is computed: by which line, and by how many ranks."""


def _digest_of_step(step: Step) -> str:
    """Of what is computed, wherever it stands in the sources."""
    return hashlib.sha256(_SOURCE.sub("", str(step.graph)).encode()).hexdigest()
