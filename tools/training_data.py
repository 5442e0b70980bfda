"""Where the batches of a run come from, epoch by epoch; their order depends on the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import optree

from ..engine.data import Arrays, Loader
from ..engine.fit.metrics import accuracy
from ..ir import Array, ArrayType
from .command_error import CommandError
from .data import Split, load_digits, load_mnist
from .recipes import Ingredients


@dataclass(frozen=True)
class TrainingData:
    """The batches of a run, and what it is evaluated on."""

    loader: Loader
    batch: Any
    """What one batch looks like, as specs."""
    arrays: Any = None
    """All examples; `None` where they are random."""
    validate: Any = None
    metrics: Any = None

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self.loader)


class RandomBatches(Loader):
    """Random arrays of the types of `batch`: floats from a normal distribution, integers and booleans 0 or 1."""

    def __init__(self, batch: Any, seed: int) -> None:
        self._batch = batch
        self._seed = seed

    def __len__(self) -> int:
        return _RANDOM_BATCHES

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """The batches of an epoch, from batch `start` on."""
        for i in range(start, len(self)):
            rng = np.random.default_rng([self._seed, number, i])
            yield optree.tree_map(partial(_random, rng), self._batch)


_RANDOM_BATCHES = 100

OF_MNIST = ("mnist", "resnet")
"""The recipes that are trained with MNIST."""


def training_data(
    recipe: str, ingredients: Ingredients, batch_size: int | None, seed: int, file: str | None = None
) -> TrainingData:
    """The data to train `recipe` with: its own data set, the arrays that it returns, or random ones of its specs.

    Without `batch_size` a batch has the size of the recipe's specs, or holds all the examples of its arrays.
    Raises `CommandError` where the data and the options do not go together.
    """
    if file is not None and recipe not in OF_MNIST:
        raise CommandError(f"--data goes with the recipes {' and '.join(OF_MNIST)}; {recipe} brings its own data")
    leaves = optree.tree_leaves(ingredients.batch)
    specs = [leaf for leaf in leaves if isinstance(leaf, ArrayType)]
    arrays = [leaf for leaf in leaves if isinstance(leaf, np.ndarray)]
    if not leaves or max(len(specs), len(arrays)) < len(leaves):
        raise CommandError(f"the batch of the recipe {recipe} must hold arrays, or specs, and nothing else")
    if any(leaf.ndim == 0 for leaf in arrays) or (batch_size and any(not t.shape for t in specs)):
        raise CommandError(f"the batch of the recipe {recipe} holds a scalar, which has no examples to take batches of")
    if recipe in ("digits", *OF_MNIST):
        x_train, y_train, x_test, y_test = _load(recipe, file)
        data = _examples({"x": x_train, "y": y_train}, batch_size or specs[0].shape[0], seed)
        return replace(data, validate={"x": x_test, "y": y_test}, metrics=[accuracy])
    if specs:
        batch = ingredients.batch if batch_size is None else _of_size(ingredients.batch, batch_size)
        data = TrainingData(RandomBatches(batch, seed), batch)
    else:
        data = _examples(ingredients.batch, batch_size, seed)
    return replace(data, validate=ingredients.validate, metrics=ingredients.metrics)


def _load(recipe: str, file: str | None) -> Split:
    if recipe == "digits":
        return load_digits()
    if file is None:
        raise CommandError(
            f"{recipe} needs --data FILE.npz with x_train, y_train, x_test, y_test in uint8 (Keras's mnist.npz)"
        )
    return load_mnist(file)


def _examples(arrays: Any, batch_size: int | None, seed: int) -> TrainingData:
    count = _count(arrays)
    if any(len(leaf) != count for leaf in optree.tree_leaves(arrays)) or not count:
        lengths = ", ".join(str(len(leaf)) for leaf in optree.tree_leaves(arrays))
        raise CommandError(f"the arrays of the batch must hold the same number of examples, above 0, not {lengths}")
    if batch_size is not None and batch_size > count:
        raise CommandError(f"--batch-size {batch_size} is more than the {count} examples that there are")
    size = batch_size or count
    specs = optree.tree_map(lambda a: ArrayType(a.shape, a.dtype), arrays)
    return TrainingData(Arrays(arrays, size, seed=seed, drop_last=True), _of_size(specs, size), arrays)


def _count(arrays: Any) -> int:
    return len(optree.tree_leaves(arrays)[0])


def _of_size(specs: Any, batch_size: int) -> Any:
    return optree.tree_map(lambda t: ArrayType((batch_size, *t.shape[1:]), t.dtype), specs)


def _random(rng: np.random.Generator, kind: ArrayType) -> Array:
    if kind.dtype.kind == "f":
        return rng.standard_normal(kind.shape).astype(kind.dtype)
    return rng.integers(0, 2, kind.shape).astype(kind.dtype)
