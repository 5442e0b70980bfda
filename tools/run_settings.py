"""What the bits of a run depend on, as its checkpoint holds it, and what of that another command may change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from .command_error import CommandError
from .file_values import brief, is_cores, is_count, is_half, is_loss_scaling, is_memory, is_rate, is_text
from .ranks import parts_to_go_on
from .recipes import RECIPES

_EPOCHS = {"digits": 40, "mnist": 10, "resnet": 4}
_OTHER_EPOCHS = 10


@dataclass(frozen=True)
class Settings:
    """What the bits of a run depend on. `None` is the recipe's own; of code and of data there are digests."""

    recipe: str
    epochs: int
    batch_size: int | None = None
    optimizer: str | None = None
    lr: float | None = None
    schedule: str | None = None
    clip_norm: float | None = None
    early_stop: int | None = None
    seed: int = 0
    memory: str | None = None
    allow: str | None = None
    precision: str | None = None
    loss_scaling: str | None = None
    target: str | None = None
    """What it runs on; `None` is the CPU."""
    cores: int | None = None
    """For how many cores a step is cut; `None` is the target's own number."""
    parts: int | None = None
    """In how many parts ranks share a batch; `None` is a run without ranks."""
    data: str | None = None
    """A digest of the examples; `None` where they are random."""
    step: str | None = None
    """A digest of the step as it was traced: of the recipe's code, so to speak."""

    @staticmethod
    def fresh(given: Mapping[str, Any]) -> Settings:
        """The settings of a new run, with defaults for what is not given."""
        recipe = given.get("recipe", "digits")
        return replace(Settings(recipe, _EPOCHS.get(recipe, _OTHER_EPOCHS)), **given)

    def resumed(self, given: Mapping[str, Any], path: str) -> Settings:
        """The settings for the rest of a run that began with these, which `path` holds.

        Raises `CommandError` where what is given would change the batches or the optimizer of the run; and where the
        recipe is not one of ours and not given: what a file names is not run.
        """
        for name in ("batch_size", "optimizer", "schedule", "clip_norm", "precision", "loss_scaling", "seed"):
            before, now = getattr(self, name), given.get(name)
            if now is not None and now != before:
                option = "--" + name.replace("_", "-")
                began = f"without {option}" if before is None else f"with {option} {before}"
                raise CommandError(f"the run to resume began {began}; it cannot go on with {option} {now}")
        parts_to_go_on(self.parts, given.get("parts"))
        if "recipe" not in given and self.recipe not in RECIPES:
            raise CommandError(
                f"{path} says that it was trained with the recipe {brief(self.recipe)}, which does not come with "
                "Gradloom; what a file names is not run: if it is yours, name it, as in gradloom train RECIPE --resume "
                f"{path}"
            )
        return replace(self, **given)

    @staticmethod
    def from_json(text: str) -> Settings:
        """The settings of `to_json`. Raises `ValueError` for any other text."""
        try:
            values = json.loads(text)
        except RecursionError:
            values = None
        if not isinstance(values, dict) or not {"recipe", "epochs"} <= values.keys() <= _CHECKS.keys():
            raise ValueError(f"these are no settings of a run: {brief(text)}")
        for name, value in values.items():
            optional = name not in ("recipe", "epochs", "seed")
            if not (optional and value is None) and not _CHECKS[name](value):
                raise ValueError(f"{name} is {brief(value)}")
        return Settings(**values)

    def to_json(self) -> str:
        """Text that `from_json` reads."""
        return json.dumps(asdict(self))


_CHECKS: dict[str, Any] = {
    "recipe": is_text,
    "epochs": is_count,
    "batch_size": is_count,
    "optimizer": is_text,
    "lr": is_rate,
    "schedule": is_text,
    "clip_norm": is_rate,
    "early_stop": is_count,
    "seed": lambda value: type(value) is int and 0 <= value < 2**64,
    "memory": is_memory,
    "allow": is_half,
    "precision": is_text,
    "loss_scaling": is_loss_scaling,
    "target": is_text,
    "cores": is_cores,
    "parts": is_count,
    "data": is_text,
    "step": is_text,
}
