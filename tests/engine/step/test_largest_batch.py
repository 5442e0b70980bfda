"""The search for the largest batch looks at few lengths, and ends next to one that does not fit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from gradloom.engine.step.largest_batch import LONGEST_BATCH, BatchSearch, Needed

HELD = 1000

Sizes = Callable[[int], int]


def searched(
    sizes: Sizes, limit: int, first: int, free: float = 1.0, looks: float = float("inf"), round_length: int = 1
) -> tuple[BatchSearch, list[int], int]:
    """The search, the lengths that it looked at, and for how many of them it wanted the smallest plan.

    Without recomputing a length needs `free` times the smallest arena.
    """
    looked_at: list[int] = []
    searches = 0

    def needed(n: int) -> Needed:
        nonlocal searches
        looked_at.append(n)
        unbounded = HELD + int(free * (sizes(n) - HELD))
        if unbounded <= limit:
            return Needed(unbounded, False, unbounded)
        searches += 1
        return Needed(sizes(n), True, unbounded)

    search = BatchSearch(limit, HELD, needed, round_length, looks)
    search.run(first)
    return search, looked_at, searches


def line(n: int) -> int:
    return HELD + 300 + 70 * n


def bent(n: int) -> int:
    return HELD + 500 + int(400 * n**0.5)


def steep(n: int) -> int:
    return HELD + 90 + 3 * n * n


@pytest.mark.parametrize("sizes", [line, bent, steep])
@pytest.mark.parametrize("free", [1.0, 2.5])
@pytest.mark.parametrize("first", [1, 7, 48, 3000])
@pytest.mark.parametrize("limit", [HELD + 370, 5000, 100_000])
def test_it_ends_between_a_length_that_fits_and_one_that_does_not(sizes: Sizes, free: float, first: int, limit: int):
    search, looked_at, _ = searched(sizes, limit, first, free)
    assert search.largest == search.fits == search.fails - 1
    assert search.fits == 0 or sizes(search.fits) <= limit
    assert search.fails > LONGEST_BATCH or sizes(search.fails) > limit
    assert len(looked_at) == len(set(looked_at)) <= 16


@pytest.mark.parametrize("first", [4, 64, 500])
@pytest.mark.parametrize("limit", [3000, 20_000, 90_000])
def test_few_smallest_plans_are_wanted_where_bytes_grow_in_line(first: int, limit: int):
    _, looked_at, searches = searched(line, limit, first, free=2.0)
    assert searches <= 4
    assert len(looked_at) <= 6


def test_what_fits_at_no_length_is_known_after_two():
    search, looked_at, _ = searched(line, HELD + 100, 512)
    assert (search.largest, looked_at) == (0, [512, 1])


@pytest.mark.parametrize("looks", [2, 3])
@pytest.mark.parametrize("sizes", [line, bent, steep])
def test_it_ends_when_as_many_smallest_plans_as_allowed_were_looked_for(sizes: Sizes, looks: int):
    search, _, searches = searched(sizes, sizes(100), 512, free=2.0, looks=looks)
    assert searches <= looks
    assert 1 < search.largest <= 100 < search.fails <= 512
    assert sizes(search.fits) <= sizes(100) < sizes(search.fails)


def test_a_length_that_the_model_refuses_is_no_answer():
    def needed(n: int) -> Needed | None:
        return None if n == 1 else Needed(line(n), True, line(n))

    search = BatchSearch(line(1), HELD, needed)
    search.run(16)
    assert (search.fits, search.fails, search.largest) == (1, 2, 0)


def test_lengths_like_the_first_are_tried_where_divisors_tell():
    def sizes(n: int) -> int:
        return HELD + (100 + n if n % 8 == 0 else 100 * n)

    search, looked_at, _ = searched(sizes, HELD + 500, 16, round_length=16)
    assert search.largest % 8 == 0
    assert search.largest >= 256
    assert len(looked_at) <= 12
