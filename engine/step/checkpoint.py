"""A step's content in a file: parameters and buffers under their own names, and what training needs to go on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir import FLOAT16, Array, DType
from ...ir.printable import brief
from ...ir.types import FLOAT32, is_half
from ..optim import Optimizer
from ..optim.schedules import plateau
from ..optim.update_inputs import of_group
from ..ranks import Ranks
from ..saving.checkpoint_file import CheckpointError, CheckpointReader, check_names, open_checkpoint, save_arrays
from ..saving.renaming import Rename, renamed
from ..saving.safetensors_format import StoredArray
from ..saving.save_together import save_together
from ..tracing.errors import located
from .learning_rate import LearningRates
from .live_arrays import LiveArrays, types_of
from .loss_scaling import SCALING
from .narrow_moments import moment_of, stored_moment
from .narrow_parameters import Masters, master_name
from .settings import check_state, settings_in_file, warn_of_other_settings
from .sharded_arrays import ShardedArrays

# In files. No module has an empty name, so no parameter's name begins like this.
STATE_PREFIX = ".optimizer."
_OPTIMIZER_KEY = "gradloom.optimizer"
_SETTINGS_KEY = "gradloom.settings"
_LONGEST = 300


@dataclass(frozen=True)
class Wanted:
    """What of a file is taken up, as `Step.load` says."""

    strict: bool
    rename: Rename | None
    weights_only: bool

    @property
    def with_state(self) -> bool:
        """Whether the optimizer's state is."""
        return self.strict and self.rename is None and not self.weights_only


@dataclass(frozen=True)
class Content:
    """What of a step a checkpoint holds; `settings` is what the bits depend on beside, `optional` the buffers that are
    no part of state dicts.
    """

    live: LiveArrays
    state: Mapping[str, Array]
    masters: Masters
    key: Array
    rates: LearningRates
    optimizer: Optimizer
    fresh_state: Callable[[], Iterable[tuple[str, Array]]]
    tied: Mapping[str, str]
    optional: frozenset[str]
    settings: Mapping[str, str]
    ranks: Ranks
    sharded: ShardedArrays
    sharded_parameters: ShardedArrays

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, str]) -> None:
        """Write it to a file, whole or not at all."""
        own = {_OPTIMIZER_KEY: self.optimizer.title, _SETTINGS_KEY: json.dumps(self.settings)}
        whole = self.sharded.whole(self.state)
        state = {STATE_PREFIX + name: array for name, array in whole.items()}
        state[STATE_PREFIX + "key"] = self.key
        with self.live.reading() as live:
            rates = {STATE_PREFIX + of_group("lr", group): self.rates.arrays[group] for group in self.rates.given}
            parameters = self.sharded_parameters.whole(live.parameters)
            arrays = parameters | live.buffers | state | rates
            if self.ranks.size > 1:
                save_together(path, arrays, {**metadata, **own}, self.ranks)
            else:
                save_arrays(path, arrays, {**metadata, **own})

    def load(self, path: str | os.PathLike[str], wanted: Wanted) -> dict[str, str]:
        """Take it up from a file, and return the metadata given to `save`. Where it raises, nothing has changed."""
        with open_checkpoint(path) as file:
            file.verify()
            self.ranks.agree(file.identity, f"checkpoint at {os.fsdecode(path)}")
            metadata = dict(file.metadata)
            saved_by = metadata.pop(_OPTIMIZER_KEY, None)
            saved_with = settings_in_file(path, metadata.pop(_SETTINGS_KEY, "{}"))
            self._take_up(file, os.fsdecode(path), saved_by, wanted)
        if wanted.with_state and saved_with:  # which a file of weights alone does not say
            warn_of_other_settings(os.fsdecode(path), saved_with, self.settings, self.rates.given)
        return metadata

    def _take_up(self, file: CheckpointReader, path: Any, saved_by: str | None, wanted: Wanted) -> None:
        live = self.live
        stored = {name: array for name, array in file.arrays.items() if not name.startswith(STATE_PREFIX)}
        state = {name[len(STATE_PREFIX) :]: a for name, a in file.arrays.items() if name.startswith(STATE_PREFIX)}
        state = state if wanted.with_state else {}
        source = f"the arrays of {path}"
        if wanted.rename is not None:
            stored = {new: stored[name] for new, name in renamed(list(stored), wanted.rename, source).items()}
        # A master has the bits that its parameter is rounded from, whichever of the two the step has.
        stored |= {name: state.pop(master_name(name)) for name in live.parameters if master_name(name) in state}
        opened = self.sharded_parameters.opened(live.parameters)
        targets = opened | live.buffers
        types = self.masters.types(types_of(targets))
        fitting = check_names(types, stored, self.tied, source, self.optional, wanted.strict)
        targets = self.masters.opened(targets)
        kind = self.optimizer.title
        if state:
            if saved_by is not None and saved_by != kind:
                what = f"{source} come from {brief(saved_by, _LONGEST)}, the step's optimizer is {kind}"
                raise CheckpointError(
                    located(f"{what}; write step.load(path, weights_only=True) to begin with fresh state")
                )
            # A run may go on with another scale of its loss, or without one.
            state = {name: a for name, a in state.items() if name in self.state or name not in SCALING}
            own = {name: array for name, array in self.state.items() if name not in self.masters.state_names}
            own = self.sharded.opened(own)
            targets |= {STATE_PREFIX + name: array for name, array in own.items()}
            targets[STATE_PREFIX + "key"] = self.key
            rates = {of_group("lr", group): array for group, array in self.rates.arrays.items()}
            rates = {name: array for name, array in rates.items() if name in state}
            wide = _converted(own, state)
            targets |= {STATE_PREFIX + name: array for name, array in wide.items()}
            types = types_of({**own, **wide, "key": self.key, **rates})
            new_state = check_names(types, state, source=f"the optimizer state of {path}", optional=SCALING)
            read = {name: new_state[name].read() for name in ("step", *self._plateau_rates(), *rates)}
            check_state(path, int(read["step"]), [float(array) for name, array in read.items() if name != "step"])
            fitting |= {STATE_PREFIX + name: array for name, array in new_state.items()}
        else:
            read, wide, own = {}, {}, {}
        names = {group: of_group("lr", group) for group in self.rates.arrays}
        given = {group: float(read[name]) for group, name in names.items() if name in read}
        # A schedule may raise: before anything changes.
        rates_then = self.rates.at(int(read.get("step", 0)), given, read)

        def change() -> None:
            file.read_into(targets, fitting)
            read_whole = {name: array for name, array in targets.items() if name in fitting}
            self.masters.take(read_whole)
            plain = {name: array for name, array in opened.items() if read_whole.get(name) is array}
            self.sharded_parameters.take(plain, live.parameters)
            for name, array in wide.items():
                _convert(array, state[name].type_in_file.dtype, own[name])
            self.sharded.take(own, self.state)
            if not state:
                for name, value in self.fresh_state():
                    if name not in self.masters.state_names:
                        self.state[name][...] = value
            self.masters.round()
            self.rates.take_up(given, rates_then)

        live.change(change)

    def _plateau_rates(self) -> list[str]:
        """The state that is a rate."""
        names = [of_group(plateau.RATE, group) for group in self.rates.arrays]
        return [name for name in names if name in self.state]


def _converted(own: Mapping[str, Array], state: Mapping[str, StoredArray]) -> dict[str, Array]:
    """Room in float32 for the moments that a step stores in another dtype than a file, one of the two in two bytes."""
    found: dict[str, Array] = {}
    for name, array in own.items():
        dtypes = {array.dtype, state[name].type_in_file.dtype} if name in state else set[DType]()
        if len(dtypes) == 2 and any(map(is_half, dtypes)) and all(is_half(d) or d == FLOAT32 for d in dtypes):
            found[name] = np.empty(array.shape, FLOAT32)
    return found


def _convert(read: Array, dtype: DType, stored: Array) -> None:
    """Store moments as a step does, of which a file had these numbers in a `dtype`."""
    with np.errstate(all="ignore"):  # moments that are not finite stay so
        moment = moment_of(read.astype(FLOAT16)) if dtype == FLOAT16 else read
        stored[...] = stored_moment(moment, stored.dtype) if is_half(stored.dtype) else moment
