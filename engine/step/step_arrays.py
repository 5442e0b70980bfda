"""The arrays that a step holds: parameters, buffers and the optimizer's state, read, replaced, saved and loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ...ir import Array
from ...runtime.backend import Backend
from ..nn import Module
from ..nn.state_dict import IncompatibleKeys
from ..optim.update_inputs import DEFAULT_GROUP
from ..ranks import Ranks, one
from ..saving.renaming import Rename
from ..saving.save_together import save_by_first
from ..tracing.tracer import located
from .averages import Averages
from .checkpoint import Content, Wanted
from .data_parallel import DataParallel
from .learning_rate import LearningRates, RatesByGroup
from .live_arrays import LiveArrays
from .loss_scaling import SCALE, SKIPPED
from .narrow_moments import readable
from .narrow_parameters import Masters
from .program import StepProgram
from .settings import settings_of
from .sharded_arrays import ShardedArrays
from .shards import Shards
from .step_graph import StepGraph
from .weights import replace, replaced_by_state_dict, replaced_parameters


class StepArrays:
    """What a `Step` holds, which is a subclass of this: it fills the attributes, and trains."""

    _model: Module
    _backend: Backend
    _options: dict[str, Any]
    _live: LiveArrays
    _parameters: dict[str, Array]
    _buffers: dict[str, Array]
    """The live arrays of this step's model, by its own names."""
    _own: frozenset[str]
    """The names under which they live."""
    _names: dict[str, str]
    """For every name of a state dict, that of `_parameters` or `_buffers`."""
    _state: dict[str, Array]
    _masters: Masters
    _rates: LearningRates
    _key: Array
    _first: StepProgram
    _ranks: Ranks | None = None

    @property
    def ranks(self) -> Ranks:
        """The ranks that train it together: `gl.ranks.one()` where none were given."""
        return self._ranks or one()

    def _current(self) -> LiveArrays:
        """The live arrays of this step and of all that share with it by now."""
        live = self._live
        if live.moved_to is not None:
            live = self._live = live.latest()
        return live

    @property
    def steps(self) -> int:
        """Updates done so far."""
        return int(self._state["step"])

    @property
    def loss_scale(self) -> float:
        """What the loss is multiplied by before the next backward; 1 of a step without `loss_scaling`."""
        return float(self._state.get(SCALE, 1.0))

    @property
    def skipped_updates(self) -> int:
        """The updates that were skipped because a gradient was not finite; 0 of a step without `loss_scaling`."""
        return int(self._state.get(SKIPPED, 0))

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update. Setting it holds from then on, in place of any schedule; setting it to
        `None` goes back to the optimizer's own rate or schedule, at the step where training stands.

        With groups it is the rate of the default, which those have too that set none of their own.
        """
        self._rates.check_group(DEFAULT_GROUP)
        return self._rates.next()[DEFAULT_GROUP]

    @learning_rate.setter
    def learning_rate(self, value: float | None) -> None:
        self._set_rates({DEFAULT_GROUP: value})

    @property
    def learning_rates(self) -> dict[str, float]:
        """The learning rates of the next update by group: "default" is that of the optimizer, or of the default of
        `gl.optim.groups`, and the others are named by their patterns. Setting one, as `step.learning_rates["head.*"] =
        1e-4`, or several by a dict, holds from then on; `None` goes back to the group's own.
        """
        return RatesByGroup(self._rates.next(), self._set_rates)

    @learning_rates.setter
    def learning_rates(self, values: Mapping[str, float | None]) -> None:
        if not isinstance(values, Mapping):
            got = f"got {values!r}; write step.learning_rate = ... for that of the default"
            raise TypeError(located(f"learning rates are a dict by group, {got}"))
        self._set_rates(values)

    def _set_rates(self, values: Mapping[str, float | None]) -> dict[str, float]:
        with self._current().held():
            self._rates.set(values)
            return self._rates.next()

    def parameters(self) -> dict[str, Array]:
        """A copy of every parameter, by name, as it is computed with: in two bytes where it is stored so."""
        return self._sharded_parameters().whole(self._current().copies(lambda live: live.parameters))

    def buffers(self) -> dict[str, Array]:
        """A copy of every buffer (running statistics), by name."""
        return self._current().copies(lambda live: live.buffers)

    def state(self) -> dict[str, Array]:
        """A copy of the optimizer's state by name, such as `exp_avg.0.weight`; `step` counts the updates done. A
        moment that is stored as a root in float16 comes as it is, in float32. Where each rank has a shard of it, all
        ranks call this together.
        """
        return readable(self._sharded.whole(self._current().copies(lambda live: self._state)))

    @property
    def _sharded(self) -> ShardedArrays:
        """What this rank has shards of."""
        return self._sharded_state(self._first.traced)

    def _sharded_state(self, traced: StepGraph) -> ShardedArrays:
        """The same, as it was traced."""
        parallel: DataParallel | None = self._options.get("ranks")
        shards = Shards(1, 1) if parallel is None else parallel.blocks
        return ShardedArrays(self.ranks, shards, traced.whole_state)

    def _sharded_parameters(self) -> ShardedArrays:
        """The same of parameters."""
        parallel: DataParallel | None = self._options.get("ranks")
        if parallel is None or parallel.parameter_shards is None:
            return ShardedArrays(self.ranks, Shards(1, 1), {})
        return ShardedArrays(self.ranks, parallel.blocks, {n: p.type for n, p in self._model.stored_parameters()})

    def device_arrays(self) -> dict[str, Any]:
        """The live parameters and buffers themselves by name, where they are: of a step on a GPU arrays that its
        libraries take without a copy, by `__dlpack__` (as in `torch.from_dlpack`) and `__cuda_array_interface__`; on a
        CPU those of NumPy. The next step overwrites them, in the order in which things were given to the GPU: it waits
        for what other libraries have given to CUDA's default stream. What is written to them is trained on.
        """
        live = self._current()
        return {**live.parameters, **live.buffers}

    def averaged_parameters(self) -> dict[str, Array]:
        """A copy of the average of every parameter, by name, that `gl.optim.EMA` or `gl.optim.SWA` keeps, the outermost
        where there are several. A frozen parameter is as it is. Raises `ValueError` where the optimizer keeps none.
        """
        averages = self._averages()
        copies = self._current().copies(lambda live: averages.now)
        parameters = self._sharded_parameters()
        return (parameters if parameters.types else averages.now_sharded).whole(copies)

    def _averages(self) -> Averages:
        """The averages that the optimizer keeps. Raises `ValueError` where it keeps none."""
        whole = not self._sharded_parameters().types
        return Averages(self._first.traced.optimizer, self._state, self._parameters, self._sharded, whole)

    def set_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Replace all parameters, and the buffers among what is given, by name: a PyTorch state dict may come whole.

        Raises `CheckpointError` that lists what is missing, extra or misshapen; nothing has changed then.
        """
        live = self._current()
        own = self._sharded_parameters()
        replace(live, replaced_parameters(parameters, live, self._own, self._masters, own), self._masters)

    def state_dict(self) -> dict[str, Any]:
        """A copy of every parameter and persistent buffer of the model under the names of PyTorch's `state_dict`: a
        tied one, which is copied once, under each of its names. Of a model of `gl.from_torch` they are tensors, which
        its module takes by `module.load_state_dict(step.state_dict())`.
        """
        held = self._current().copies(lambda live: self._parameters | self._buffers)
        held = self._sharded_parameters().whole(held)
        return self._model.given_out({name: held[first] for name, first in self._names.items()})

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Replace parameters and buffers by arrays or tensors of PyTorch, by name; floats are converted to the step's
        dtypes. The optimizer's state stays as it is.

        Returns the names that were missing and those that the model does not have. Raises `CheckpointError` where there
        are such, unless `strict` is False, and where a shape is another; nothing has changed then.
        """
        named = self._named(self._masters.written(self._parameters))
        if self._sharded_parameters().types or self._masters.in_shards:
            what = f"load_state_dict of a step with shard={self._options['ranks'].shard!r}"
            what += " and parameters in two bytes" if self._masters.in_shards else ""
            raise NotImplementedError(located(f"{what}; write step.set_parameters(state_dict)"))
        replaced, keys = replaced_by_state_dict(state_dict, named, bool(strict))
        replace(self._current(), replaced, self._masters)
        return keys

    def _named(self, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """Live arrays of parameters, and the buffers, by the names of `state_dict`."""
        held = {**parameters, **self._buffers}
        return {name: held[first] for name, first in self._names.items()}

    def save(
        self,
        path: str | os.PathLike[str],
        metadata: Mapping[str, str] | None = None,
        *,
        weights_only: bool = False,
    ) -> None:
        """Write parameters, buffers and the optimizer's state to a safetensors file, whole or not at all.

        Parameters and buffers stand under their own names, as PyTorch writes them, the state under `.optimizer.`: with
        the seed's key, and the learning rate if it was set. The file has a checksum, and says which settings the step
        has; steps that are equal write equal bytes. Raises `CheckpointError` where the file cannot be written; one that
        was there before is then untouched.

        Ranks that train together write together, to one file each with an index at `path.index.json`, as Hugging Face
        does; all must call this. `load` reads either, on any number of ranks.

        With `weights_only` the file holds `state_dict()` and nothing else, and PyTorch's own module loads it with
        `strict=True`.
        """
        if weights_only:
            with self._current().reading():
                whole = self._sharded_parameters().whole(self._parameters)
                save_by_first(path, self._named(whole), {"format": "pt", **(metadata or {})}, self.ranks)
        else:
            self._content().save(path, metadata or {})

    def load(
        self,
        path: str | os.PathLike[str],
        *,
        strict: bool = True,
        rename: Rename | None = None,
        weights_only: bool = False,
    ) -> dict[str, str]:
        """Take up parameters, buffers and state from a file of `save`, and return the metadata given there.

        Training then goes on to the same bits as without the interruption. Where it cannot, because the step that wrote
        the file had another optimizer's settings, schedule, `accumulate`, clipping or tiles of the batch, a
        `CheckpointWarning` says what differs. A file without optimizer state, such as a PyTorch state dict saved as
        safetensors, sets parameters and buffers, and the optimizer begins with fresh state. Arrays are read into their
        places, with no other copy in memory, those of bfloat16, float16 and float32 into float32 or float64. Raises
        `CheckpointError` where the file is damaged, does not fit, or holds a learning rate or a number of steps that
        cannot be; nothing has changed then.

        `rename` says what names in the file are in the model: by a dict, as in `{"transformer.h.*": "blocks.*",
        "head.*": None}`, whose `*` is any text and whose `None` leaves arrays out, or by a function of a name. Where it
        is not `strict`, arrays may be missing, which stay as they are, or be none of the model's, but none may be of
        another shape. With `weights_only`, `rename` or without `strict`, the state of an optimizer is not taken up.
        """
        if not isinstance(path, (str, os.PathLike)):
            instead = "; write step.set_parameters(...) for arrays by name" if isinstance(path, Mapping) else ""
            raise TypeError(located(f"step.load takes the path of a file, got {type(path).__name__}{instead}"))
        return self._content().load(path, Wanted(bool(strict), rename, bool(weights_only)))

    def _content(self) -> Content:
        live, traced = self._current(), self._first.traced
        options = {name: value for name, value in self._options.items() if name not in ("outputs", "ranks")}
        if "ranks" in self._options:
            options["parts"] = self._options["ranks"].parts
        settings = settings_of(traced.optimizer, options, self._first.report)
        names = [name for name, _ in traced.state]
        held = live.parameters.keys() | live.buffers.keys()
        absent = {name for name, b in self._model.stored_buffers() if not b.persistent}
        return Content(
            live,
            self._state,
            self._masters,
            self._key,
            self._rates,
            traced.optimizer,
            lambda: zip(names, traced.initial_state()),
            live.tied,
            frozenset({live.names.get(name, name) for name in absent} | (held - self._own)),
            settings,
            self.ranks,
            self._sharded,
            self._sharded_parameters(),
        )
