"""A step's content in a file: parameters and buffers under their own names, and what training needs to go on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...ir import Array
from ...ir.printable import brief
from ..optim import Optimizer
from ..saving.checkpoint_file import CheckpointError, CheckpointReader, check_names, open_checkpoint, save_arrays
from .learning_rate import LearningRate
from .live_arrays import LiveArrays, types_of
from .settings import check_state, settings_in_file, warn_of_other_settings

# In files. No module has an empty name, so no parameter's name begins like this.
_STATE_PREFIX = ".optimizer."
_OPTIMIZER_KEY = "gradloom.optimizer"
_SETTINGS_KEY = "gradloom.settings"


@dataclass(frozen=True)
class Content:
    """What of a step a checkpoint holds; `settings` is what the bits depend on beside."""

    live: LiveArrays
    state: Mapping[str, Array]
    key: Array
    rate: LearningRate
    optimizer: Optimizer
    fresh_state: Callable[[], Iterable[tuple[str, Array]]]
    tied: Mapping[str, str]
    settings: Mapping[str, str]

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, str]) -> None:
        """Write it to a file, whole or not at all."""
        own = {_OPTIMIZER_KEY: type(self.optimizer).__name__, _SETTINGS_KEY: json.dumps(self.settings)}
        live = self.live
        with live.lock:
            before = live.begin_reading()
            try:
                arrays = {**live.parameters, **live.buffers}
                arrays |= {_STATE_PREFIX + name: array for name, array in self.state.items()}
                arrays[_STATE_PREFIX + "key"] = self.key
                if self.rate.given is not None:
                    arrays[_STATE_PREFIX + "lr"] = self.rate.array
                save_arrays(path, arrays, {**metadata, **own})
            finally:
                live.busy = before

    def load(self, path: str | os.PathLike[str]) -> dict[str, str]:
        """Take it up from a file, and return the metadata given to `save`. Where it raises, nothing has changed."""
        with open_checkpoint(path) as file:
            file.verify()
            metadata = dict(file.metadata)
            saved_by = metadata.pop(_OPTIMIZER_KEY, None)
            saved_with = settings_in_file(path, metadata.pop(_SETTINGS_KEY, "{}"))
            self._take_up(file, os.fsdecode(path), saved_by)
        warn_of_other_settings(os.fsdecode(path), saved_with, self.settings, self.rate.given is not None)
        return metadata

    def _take_up(self, file: CheckpointReader, path: Any, saved_by: str | None) -> None:
        live = self.live
        stored = {name: array for name, array in file.arrays.items() if not name.startswith(_STATE_PREFIX)}
        state = {name[len(_STATE_PREFIX) :]: a for name, a in file.arrays.items() if name.startswith(_STATE_PREFIX)}
        source = f"the arrays of {path}"
        targets = live.parameters | live.buffers
        fitting = check_names(types_of(targets), stored, self.tied, source)
        kind = type(self.optimizer).__name__
        if state:
            if saved_by is not None and saved_by != kind:
                raise CheckpointError(f"{source} come from {brief(saved_by)}, the step's optimizer is {kind}")
            targets |= {_STATE_PREFIX + name: array for name, array in self.state.items()}
            targets[_STATE_PREFIX + "key"] = self.key
            wanted = types_of({**self.state, "key": self.key} | ({"lr": self.rate.array} if "lr" in state else {}))
            new_state = check_names(wanted, state, source=f"the optimizer state of {path}")
            given = {name: new_state[name].read() for name in ("step", "lr") if name in new_state}
            check_state(path, given)
            fitting |= {_STATE_PREFIX + name: array for name, array in new_state.items()}
        else:
            given = {}
        # A schedule may raise: before anything changes.
        rate = float(given["lr"]) if "lr" in given else self.optimizer.learning_rate(int(given.get("step", 0)))

        def change() -> None:
            file.read_into(targets, fitting)
            if not state:
                for name, value in self.fresh_state():
                    self.state[name][...] = value
            self.rate.given = float(given["lr"]) if "lr" in given else None
            self.rate.array[()] = rate

        live.change(change)
