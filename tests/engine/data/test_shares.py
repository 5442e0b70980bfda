"""Ranks share the batches of a loader: each example once, whatever their number, and the same batches."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom.engine.data.loader import Mapped


class RankOf(gl.ranks.Ranks):
    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


def ranks_of(size: int) -> list[gl.ranks.Ranks]:
    return [RankOf(rank, size) for rank in range(size)]


DATA = {"x": np.arange(44.0).reshape(22, 2), "y": np.arange(22)}


def joined(shares: list[Any]) -> list[dict[str, np.ndarray]]:
    """The batches of all ranks, put together again."""
    together = [list(share) for share in zip(*shares, strict=True)]
    return [{name: np.concatenate([part[name] for part in batch]) for name in batch[0]} for batch in together]


def assert_equal(found: Any, expected: Any) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        for name in other:
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("drop_last", [False, True])
def test_ranks_together_have_the_batches_of_one(size: int, drop_last: bool):
    whole = list(gl.data.batches(DATA, 8, seed=3, epoch=2, drop_last=drop_last))
    options: Any = {"seed": 3, "drop_last": drop_last}
    assert_equal(joined([gl.data.batches(DATA, 8, epoch=2, ranks=r, **options) for r in ranks_of(size)]), whole)
    loader = gl.data.Arrays(DATA, 8, **options)
    assert_equal(joined([loader.share(ranks).epoch(2) for ranks in ranks_of(size)]), whole)
    assert_equal(joined([gl.data.Arrays(DATA, 8, **options, ranks=r).epoch(2, 1) for r in ranks_of(size)]), whole[1:])
    assert_equal(joined([loader.prefetch().share(ranks).epoch(2) for ranks in ranks_of(size)]), whole)


def test_a_rank_reads_its_rows_alone():
    read: list[int] = []

    class Dataset:
        def __len__(self) -> int:
            return 16

        def __getitem__(self, i: int) -> int:
            read.append(i)
            return i

    batches = list(gl.data.Arrays(Dataset(), 8, shuffle=False).share(RankOf(1, 4)).epoch(0))
    assert read == [2, 3, 10, 11] == np.concatenate(batches).tolist()


def test_every_example_comes_once_in_an_epoch():
    shares = [gl.data.Arrays(DATA, 8, ranks=ranks) for ranks in ranks_of(4)]
    seen = np.concatenate([batch["y"] for share in shares for batch in share])
    assert sorted(seen) == list(range(22))


def test_what_is_drawn_for_a_batch_is_the_same_for_any_number_of_ranks():
    def noisy(batch: Any, rng: np.random.Generator) -> Any:
        return {"x": batch["x"] + rng.standard_normal(batch["x"].shape), "table": np.eye(3)}

    loader = gl.data.Arrays(DATA, 8, drop_last=True).map(noisy, seed=1)
    assert isinstance(loader, Mapped)
    whole = [batch["x"] for batch in loader.epoch(0)]
    parts = [list(loader.share(ranks).epoch(0)) for ranks in ranks_of(2)]
    np.testing.assert_array_equal(np.concatenate([parts[0][0]["x"], parts[1][0]["x"]]), whole[0])
    assert parts[1][0]["table"].shape == (3, 3)
    assert len(loader.share(RankOf(0, 2))) == len(loader)


def test_a_loader_is_shared_once():
    shared = gl.data.Arrays(DATA, 8).share(RankOf(0, 2))
    assert "shared by 2 ranks" in repr(shared)
    with pytest.raises(ValueError, match=r"ranks share the batches of .* already"):
        shared.prefetch().share(RankOf(0, 2))
    with pytest.raises(TypeError, match=r"ranks are those of gl\.ranks\.mpi\(\), or gl\.ranks\.one\(\); got int"):
        gl.data.Arrays(DATA, 8).share(2)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="got int"):
        gl.data.batches(DATA, 8, ranks=4)  # pyright: ignore[reportArgumentType]
