"""`gradloom train`: a run that shows how it goes, and that can be stopped and taken up again without a trace."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ..engine import optim
from ..engine.checkpoint_file import load_arrays
from ..engine.nn import cross_entropy
from ..engine.step import Step, compile_step
from ..ir import Array
from .command_error import CommandError
from .find_recipe import make_recipe
from .progress import TrainingProgress, figures
from .recipes import Ingredients
from .training_data import TrainingData, training_data

OPTIMIZERS: dict[str, optim.Optimizer] = {
    "sgd": optim.SGD(0.1),
    "momentum": optim.SGD(0.05, momentum=0.9),
    "adam": optim.Adam(1e-3),
    "adamw": optim.AdamW(1e-3),
}
"""What `--optimizer` says, with the learning rates that hold without `--lr`."""

_EPOCHS = {"digits": 40, "mnist": 10}
_OTHER_EPOCHS = 10

_METADATA = "training"
_TEST_BATCH = 1000

INTERRUPTED = 130
"""The exit code of a run that was stopped by Ctrl-C: 128 and the number of the signal, as shells count."""


@dataclass(frozen=True)
class Settings:
    """What the bits of a run depend on, beside the recipe's code. A checkpoint holds it; `None` is the recipe's own."""

    recipe: str = "digits"
    epochs: int | None = None
    batch_size: int | None = None
    optimizer: str | None = None
    lr: float | None = None
    seed: int | None = None

    def over(self, earlier: Settings) -> Settings:
        """These settings for the rest of a run that began with `earlier`.

        Epochs and learning rate may change. Raises `CommandError` where anything else would.
        """
        for name in ("batch_size", "optimizer", "seed"):
            now, before = getattr(self, name), getattr(earlier, name)
            if now is not None and now != before:
                option = "--" + name.replace("_", "-")
                was = "the recipe's own" if before is None else before
                raise CommandError(f"the run to resume has {option} {was}; it cannot go on with {now}")
        given = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        return replace(earlier, **given)


@dataclass(frozen=True)
class Run:
    """What `train` was asked for: the settings, and what changes no bit of the result."""

    settings: Settings
    data: str | None = None
    threads: int | None = None
    memory: int | str | None = None
    resume: str | None = None
    out: str | None = None


def train(run: Run, console: Console) -> int:
    """Train, print how it goes, and write the checkpoint after each epoch and when Ctrl-C is pressed. The exit code.

    The epoch and the place in it follow from the number of steps done, which the checkpoint holds with the parameters
    and the optimizer's state. A run that was interrupted and resumed therefore ends with the same bits.
    """
    settings = run.settings if run.resume is None else run.settings.over(_earlier(run.resume))
    settings = replace(
        settings,
        epochs=_EPOCHS.get(settings.recipe, _OTHER_EPOCHS) if settings.epochs is None else settings.epochs,
        seed=0 if settings.seed is None else settings.seed,
    )
    out = run.out or run.resume or f"gradloom-{_short_name(settings.recipe)}.safetensors"
    if not Path(out).parent.is_dir():
        raise CommandError(f"cannot write {out}: there is no folder {Path(out).parent}")
    ingredients = make_recipe(settings.recipe)
    data = training_data(settings.recipe, ingredients, settings.batch_size, settings.seed or 0, run.data)
    step = compile_step(
        ingredients.model,
        ingredients.loss_fn,
        _optimizer(ingredients, settings),
        data.batch,
        memory=run.memory,
        threads=run.threads,
        seed=settings.seed or 0,
    )
    if run.resume is not None:
        step.load(run.resume)
    console.print(str(step.report), soft_wrap=True, highlight=False, markup=False)
    return _go_on(step, data, settings, out, console)


def _go_on(step: Step, data: TrainingData, settings: Settings, out: str, console: Console) -> int:
    epochs, length, begun = settings.epochs or 0, data.steps_per_epoch, step.steps
    metadata = {_METADATA: json.dumps(asdict(settings))}
    predict = step.bind(lambda model, x: model(x))
    test: Mapping[str, float] = {}
    if begun >= epochs * length:
        console.print(f"nothing to do: {begun // length} epochs are done; go on with --epochs")
    try:
        with TrainingProgress(epochs, length, begun, console) as progress:
            for epoch in range(begun // length, epochs):
                for batch in data.epoch(epoch, step.steps - epoch * length):
                    progress.step(epoch, step(batch))
                if data.test is not None:
                    test = _tested(predict, *data.test)
                progress.end_epoch(epoch, test)
                step.save(out, metadata)
    except KeyboardInterrupt:
        step.save(out, metadata)
        epoch, place = divmod(step.steps, length)
        console.print(f"interrupted after step {place} of epoch {epoch + 1}; saved {out}", soft_wrap=True, highlight=False)
        console.print(f"to go on: gradloom train --resume {out}", soft_wrap=True, highlight=False)
        return INTERRUPTED
    if test:
        console.print(figures(test), highlight=False)
    if step.steps > begun:
        console.print(f"saved {out}", soft_wrap=True, highlight=False)
    return 0


def _tested(predict: Any, x: Array, y: Array) -> dict[str, float]:
    """Loss and accuracy of a classifier."""
    loss, right = 0.0, 0
    for start in range(0, len(x), _TEST_BATCH):
        labels = y[start : start + _TEST_BATCH]
        logits = predict(x[start : start + _TEST_BATCH])
        loss += float(np.asarray(cross_entropy(logits, labels))) * len(labels)
        right += int((logits.argmax(axis=1) == labels).sum())
    return {"test loss": loss / len(x), "test accuracy": right / len(x)}


def _optimizer(ingredients: Ingredients, settings: Settings) -> optim.Optimizer:
    optimizer = ingredients.optimizer if settings.optimizer is None else OPTIMIZERS[settings.optimizer]
    return optimizer if settings.lr is None else replace(optimizer, lr=settings.lr)


def _earlier(path: str) -> Settings:
    """The settings of the run that wrote a checkpoint; those of a file that no run wrote are the defaults."""
    text = load_arrays(path)[1].get(_METADATA)
    if text is None:
        return Settings()
    try:
        return Settings(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise CommandError(f"{path} does not say how it was trained: {error}") from error


def _short_name(recipe: str) -> str:
    """A name for files: `gpt` for `recipes/text.py:gpt`."""
    return recipe.rpartition(":")[2]
