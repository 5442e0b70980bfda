"""The arrays of which each rank holds a shard, as they are outside: whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...ir import Array, ArrayType
from ..ranks import Ranks
from .shards import Shards


@dataclass(frozen=True)
class ShardedArrays:
    """Which arrays of a step are shards, by name: `types` are those of the whole arrays."""

    ranks: Ranks
    shards: Shards
    types: Mapping[str, ArrayType]

    def whole(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The whole arrays in the place of shards. All ranks ask for the same, in the same order."""
        return {
            name: self.shards.joined(self.ranks.gather(np.asarray(array)), self.types[name])
            if name in self.types
            else array
            for name, array in arrays.items()
        }

    def opened(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Memory for whole arrays in the place of shards."""
        return {
            name: np.empty(self.types[name].shape, self.types[name].dtype) if name in self.types else array
            for name, array in arrays.items()
        }

    def cut(self, whole: Array) -> Array:
        """This rank's shard of an array."""
        return self.shards.cut(whole, self.ranks.rank)

    def take(self, opened: Mapping[str, Array], arrays: Mapping[str, Array]) -> None:
        """Cut this rank's shards out of the whole arrays that were `opened` for `arrays`."""
        for name, whole in opened.items():
            if name in self.types:
                arrays[name][...] = self.cut(whole)
