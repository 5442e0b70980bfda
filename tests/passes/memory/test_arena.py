"""Offsets in the arena: nothing alive overlaps, and no arena is larger than it has to be."""

from __future__ import annotations

import itertools
import random

import pytest
from gradloom.passes.memory import arena
from gradloom.passes.memory.arena import Request, most_live
from gradloom.passes.target import DEFAULT_TARGET
from hypothesis import given
from hypothesis import strategies as st

SIZES = st.one_of(st.sampled_from([64, 128, 640, 4096]), st.integers(1, 20_000))


@st.composite
def requests(draw: st.DrawFn, most: int = 25) -> list[Request]:
    spans = draw(st.lists(st.tuples(SIZES, st.integers(0, 12), st.integers(0, 6)), min_size=1, max_size=most))
    return [Request(size, birth, birth + life) for size, birth, life in spans]


def bound(wanted: list[Request]) -> int:
    """The most whole cache lines alive at once, in bytes."""
    return most_live([Request(DEFAULT_TARGET.round_to_line(r.nbytes), r.birth, r.death) for r in wanted])


def blocks_of(wanted: list[Request]) -> arena._Blocks:
    """In lines."""
    return arena._Blocks([(-(-r.nbytes // 64), r.birth, r.death) for r in wanted])


def assign_offsets(wanted: list[Request]) -> int:
    return arena.assign_offsets(wanted, 64)


def check(wanted: list[Request], size: int) -> None:
    for r in wanted:
        assert r.offset % 64 == 0
        assert 0 <= r.offset <= r.offset + r.nbytes <= size
    for a, b in itertools.combinations(wanted, 2):
        if a.birth <= b.death and b.birth <= a.death:
            assert a.offset + a.nbytes <= b.offset or b.offset + b.nbytes <= a.offset


@given(requests())
def test_what_lives_at_the_same_time_does_not_overlap(wanted: list[Request]):
    size = assign_offsets(wanted)
    check(wanted, size)
    assert size >= bound(wanted)


@given(requests())
def test_the_order_for_huge_graphs_is_sound(wanted: list[Request]):
    size, offsets = blocks_of(wanted).by_birth()
    for request, offset in zip(wanted, offsets):
        request.offset = 64 * int(offset)
    check(wanted, 64 * size)


@given(requests(most=7))
def test_few_blocks_take_the_least_there_is(wanted: list[Request]):
    least = 64 * min(
        int((blocks.first_fit(arena.np.array(order)) + blocks.sizes).max())
        for blocks in [blocks_of(wanted)]
        for order in itertools.islice(itertools.permutations(range(len(wanted))), 5040)
    )
    assert assign_offsets(wanted) == least


def test_the_solver_finds_what_no_order_of_blame_does(monkeypatch: pytest.MonkeyPatch):
    spans = [
        *((4, 1, 5), (5, 4, 6), (3, 4, 6), (6, 0, 0), (1, 3, 6), (6, 2, 4)),
        *((3, 4, 4), (6, 5, 6), (1, 3, 6), (3, 2, 2), (6, 3, 6), (6, 6, 6)),
    ]
    wanted = [Request(64 * lines, birth, death) for lines, birth, death in spans]
    size = assign_offsets(wanted)
    check(wanted, size)
    assert size == bound(wanted)
    monkeypatch.setattr(arena, "_EXACT", 0)
    arena._packed.cache_clear()
    assert assign_offsets(wanted) > bound(wanted)


@pytest.mark.parametrize("count", [100, 300])
def test_random_layouts_come_within_a_hundredth_of_the_bound_on_average(count: int):
    rng = random.Random(count)
    ratios: list[float] = []
    for _ in range(10):
        wanted: list[Request] = []
        for _ in range(count):
            birth = rng.randrange(count // 3)
            size = rng.choice([64, 640, 4096, rng.randrange(1, 20_000)])
            wanted.append(Request(size, birth, birth + int(rng.expovariate(0.25))))
        ratios.append(assign_offsets(wanted) / bound(wanted))
    assert sum(ratios) / len(ratios) < 1.01


def test_nothing_takes_no_bytes():
    assert assign_offsets([]) == 0
