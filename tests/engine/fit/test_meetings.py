"""Ranks agree whether a run goes on."""

from __future__ import annotations

from gradloom.engine.fit.meetings import Agreed, Meetings
from thread_ranks import on_ranks


def test_one_rank_meets_with_itself_after_each_step():
    import gradloom as gl

    meetings = Meetings(gl.ranks.one(), each_step=False)
    for interrupted, saves, stopped in ((False, False, ""), (True, False, "enough"), (False, True, "")):
        assert meetings.is_due()
        assert meetings.hold(interrupted, saves, stopped) == Agreed(interrupted, saves, stopped)


def test_what_one_rank_wants_all_do():
    def run(ranks):
        meetings = Meetings(ranks, each_step=True)
        return [
            meetings.is_due() and meetings.hold(ranks.rank == 2, ranks.rank == 1, "enough" * (ranks.rank == who))
            for who in (3, 0, 99)
        ]

    outcomes = on_ranks(3, run)
    assert outcomes == [[Agreed(True, True, ""), Agreed(True, True, "enough"), Agreed(True, True, "")]] * 3


def test_ranks_meet_after_the_same_steps():
    def run(ranks):
        meetings = Meetings(ranks, each_step=False)
        return [step for step in range(500) if meetings.is_due() and meetings.hold(False)]

    one, *others = on_ranks(3, run)
    assert one[:1] == [0]
    assert all(other == one for other in others)
