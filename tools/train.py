"""`gradloom train`: a run that shows how it goes, and that can be stopped and taken up again without a trace."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ..engine import array_api as xp
from ..engine import optim
from ..engine.checkpoint_file import load_arrays
from ..engine.step import Step, compile_step
from ..ir import Array
from .command_error import CommandError
from .find_recipe import make_recipe
from .progress import TrainingProgress
from .recipes import Ingredients
from .training_data import TrainingData, training_data

OPTIMIZERS: dict[str, optim.Optimizer] = {
    "sgd": optim.SGD(0.1),
    "momentum": optim.SGD(0.05, momentum=0.9),
    "adam": optim.Adam(1e-3),
    "adamw": optim.AdamW(1e-3),
}
"""What `--optimizer` says, with the learning rates that hold without `--lr`."""

_EPOCHS = {"digits": 40, "mnist": 10, "resnet": 4}
_OTHER_EPOCHS = 10

_METADATA = "training"
_TEST_BATCH = 1000

INTERRUPTED = 130
"""The exit code of a run that was stopped by Ctrl-C: 128 and the number of the signal, as shells count."""


@dataclass(frozen=True)
class Settings:
    """What the bits of a run depend on, beside the recipe's code: a checkpoint holds it. `None` is the recipe's own."""

    recipe: str
    epochs: int
    batch_size: int | None = None
    optimizer: str | None = None
    lr: float | None = None
    seed: int = 0

    @staticmethod
    def anew(given: Mapping[str, Any]) -> Settings:
        """The settings of a new run, with defaults for what is not given."""
        recipe = given.get("recipe", "digits")
        return replace(Settings(recipe, _EPOCHS.get(recipe, _OTHER_EPOCHS)), **given)

    def resumed(self, given: Mapping[str, Any]) -> Settings:
        """The settings for the rest of a run that began with these.

        Raises `CommandError` where what is given would change the batches or the optimizer of the run.
        """
        for name in ("batch_size", "optimizer", "seed"):
            before, now = getattr(self, name), given.get(name)
            if now is not None and now != before:
                option = "--" + name.replace("_", "-")
                began = f"without {option}" if before is None else f"with {option} {before}"
                raise CommandError(f"the run to resume began {began}; it cannot go on with {option} {now}")
        return replace(self, **given)

    @staticmethod
    def from_json(text: str) -> Settings:
        """The settings of `to_json`. Raises `ValueError` for any other text."""
        values = json.loads(text)
        types = {"recipe": str, "epochs": int, "batch_size": int, "optimizer": str, "lr": float, "seed": int}
        if not isinstance(values, dict) or set(values) != set(types):
            raise ValueError(f"these are no settings of a run: {text}")
        for name, value in values.items():
            optional = name in ("batch_size", "optimizer", "lr")
            if not (isinstance(value, types[name]) or (optional and value is None)):
                raise ValueError(f"{name} is {value!r}")
        return Settings(**values)

    def to_json(self) -> str:
        """Text that `from_json` reads."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Run:
    """What `train` was asked for: the settings that were given, by name, and what changes no bit of the result."""

    given: Mapping[str, Any]
    data: str | None = None
    threads: int | None = None
    memory: str | None = None
    resume: str | None = None
    out: str | None = None


def train(run: Run, console: Console) -> int:
    """Train, print how it goes, and write the checkpoint after each epoch and when Ctrl-C is pressed. The exit code.

    The epoch and the place in it follow from the number of steps done, which the checkpoint holds with the parameters
    and the optimizer's state. A run that was interrupted and resumed therefore ends with the same bits.
    """
    earlier = None if run.resume is None else _earlier(run.resume)
    settings = Settings.anew(run.given) if earlier is None else earlier.resumed(run.given)
    out = run.out or run.resume or f"gradloom-{settings.recipe.rpartition(':')[2]}.safetensors"
    if not Path(out).parent.is_dir():
        raise CommandError(f"cannot write {out}: there is no folder {Path(out).parent}")
    ingredients = make_recipe(settings.recipe)
    data = training_data(settings.recipe, ingredients, settings.batch_size, settings.seed, run.data)
    step = compile_step(
        ingredients.model,
        ingredients.loss_fn,
        _optimizer(ingredients, settings, settings.epochs * data.steps_per_epoch),
        data.batch,
        memory=run.memory,
        threads=run.threads,
        seed=settings.seed,
    )
    if run.resume is not None:
        step.load(run.resume)
        if settings.lr is not None and settings.lr != step.learning_rate:
            step.learning_rate = settings.lr  # the file is not of a run, and brought its own
    _say(console, str(step.report))
    return _go_on(step, data, settings, out, console)


def _go_on(step: Step, data: TrainingData, settings: Settings, out: str, console: Console) -> int:
    epochs, length, begun = settings.epochs, data.steps_per_epoch, step.steps
    metadata = {_METADATA: settings.to_json()}
    classify = step.bind(lambda model, x: xp.argmax(model(x), axis=1))
    result = ""
    if begun >= epochs * length:
        _say(console, f"nothing to do: {begun // length} epochs are done; --epochs with a larger number goes on")
        return 0
    try:
        with TrainingProgress(epochs, length, begun, console) as progress:
            for epoch in range(begun // length, epochs):
                for batch in data.epoch(epoch, step.steps - epoch * length):
                    progress.step(epoch, step(batch))
                if data.test is not None:
                    result = _tested(classify, *data.test)
                progress.end_epoch(epoch, result)
                step.save(out, metadata)
    except KeyboardInterrupt:
        step.save(out, metadata)
        epoch, place = divmod(step.steps, length)
        _say(console, f"interrupted in epoch {epoch + 1}, after {place} of {length} steps")
        _say(console, f"saved {out}; to go on: gradloom train --resume {out}")
        return INTERRUPTED
    if result:
        _say(console, result)
    _say(console, f"saved {out}")
    return 0


def _say(console: Console, text: str) -> None:
    """Print plainly: no markup, no colours, no line breaks of the console's own."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def _tested(classify: Callable[[Array], Array], x: Array, y: Array) -> str:
    starts = range(0, len(x), _TEST_BATCH)
    right = sum(int((classify(x[i : i + _TEST_BATCH]) == y[i : i + _TEST_BATCH]).sum()) for i in starts)
    return f"test accuracy {right / len(x):.4f}"


def _optimizer(ingredients: Ingredients, settings: Settings, steps: int) -> optim.Optimizer:
    """The optimizer of a run of so many steps: over these a cycle of the learning rate is stretched."""
    optimizer = ingredients.optimizer if settings.optimizer is None else OPTIMIZERS[settings.optimizer]
    if settings.lr is not None:
        return replace(optimizer, lr=settings.lr)
    if isinstance(optimizer.lr, optim.OneCycle):
        return replace(optimizer, lr=replace(optimizer.lr, steps=steps))
    return optimizer


def _earlier(path: str) -> Settings | None:
    """The settings of the run that wrote a checkpoint; `None` for a file that no run wrote."""
    text = load_arrays(path)[1].get(_METADATA)
    try:
        settings = None if text is None else Settings.from_json(text)
    except ValueError as error:
        raise CommandError(f"{path} does not say how it was trained: {error}") from error
    if settings and settings.optimizer not in (None, *OPTIMIZERS):
        raise CommandError(f"{path} was trained with the unknown optimizer {settings.optimizer}")
    return settings
