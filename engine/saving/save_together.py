"""A checkpoint that all ranks write: each some of the arrays, then rank 0 the index that makes one of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TypeVar

from ...ir import Array
from ..ranks import Ranks
from ..ranks.ranks import of_all
from .checkpoint_file import CheckpointError, reason_in_words, savable, save_arrays
from .safetensors_format import FormatError
from .sharded_file import checkpoint_exists, remove_other_shares, shares_of, write_index, write_share

_T = TypeVar("_T")


def save_together(
    path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: Mapping[str, str], ranks: Ranks
) -> None:
    """Write `arrays`, which all ranks have, to one file of each rank, with an index that rank 0 writes at last.

    All ranks call this. The old checkpoint stays as it was until the new index takes its place, so one that is not
    finished, because a rank was lost, leaves it whole. Where one rank cannot write, all raise `CheckpointError`.
    """
    where = os.fsdecode(path)
    tensors, said = savable(arrays, metadata)
    shares = shares_of({name: array.nbytes for name, array in tensors.items()}, ranks.size)
    mine = {name: tensors[name] for name in shares[ranks.rank]}
    files = _together(where, ranks, lambda: write_share(where, ranks.rank, ranks.size, mine) if mine else None)

    def index() -> None:
        if ranks.rank == 0:
            named = {file[0]: file[1] for file in files if file is not None}
            places = {name: file[0] for names, file in zip(shares, files) if file is not None for name in names}
            write_index(where, named, places, sum(array.nbytes for array in tensors.values()), said)

    _together(where, ranks, index)


def save_by_first(
    path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: Mapping[str, str], ranks: Ranks
) -> None:
    """Write `arrays` to one file, by rank 0. All ranks call this, and all raise what that one raises."""
    failed: Exception | None = None
    if ranks.rank == 0:
        try:
            save_arrays(path, arrays, metadata)
        except (CheckpointError, TypeError) as error:
            if ranks.size == 1:
                raise
            failed = error
    failed = ranks.broadcast(failed)
    if failed is not None:
        raise of_all(failed)


def _together(where: str, ranks: Ranks, write: Callable[[], _T]) -> list[_T]:
    """What each rank returns from `write`. Raises `CheckpointError` on all where one could not."""
    done: _T | None = None
    failed = ""
    try:
        done = write()
    except (OSError, FormatError) as error:
        failed = reason_in_words(error)
    outcomes = ranks.gather((done, failed))
    failures = [(rank, text) for rank, (_, text) in enumerate(outcomes) if text]
    if failures:
        if ranks.rank == 0:
            remove_other_shares(where)
        kept = "; the checkpoint that was there before is untouched" if checkpoint_exists(where) else ""
        error = CheckpointError(f"could not save {where}: rank {failures[0][0]}: {failures[0][1]}{kept}")
        raise of_all(error)
    return [done for done, _ in outcomes]
