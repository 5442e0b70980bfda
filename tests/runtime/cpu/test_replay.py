"""A replay hands out tiles as the driver does."""

from gradloom.runtime.cpu import replay as subject
from gradloom.runtime.cpu.replay import LINE_NANOSECONDS, TimedLaunch, TimedStretch, makespan, replay


def launch(*tiles: float, barrier: bool = True, nbytes: float = 0.0) -> TimedLaunch:
    return TimedLaunch(tiles, barrier, nbytes, (None,))


def test_whoever_is_free_takes_the_next_tile():
    assert makespan([launch(5, 3, 3, 3)], 2, 0.0) == 8
    assert makespan([launch(3, 3, 3, 5)], 2, 0.0) == 8
    assert makespan([launch(4, 4, 4)], 8, 0.0) == 4


def test_launches_without_a_barrier_fill_the_gaps_of_each_other():
    assert makespan([launch(4, 4, 4), launch(4, barrier=False)], 2, 0.0) == 8


def test_one_thread_takes_the_sum_and_meets_nobody():
    stretch = TimedStretch([launch(1, 2), launch(3, nbytes=1e9)])
    found = replay([stretch], 1, 1.0)
    assert (found.nanoseconds, found.work) == (6, 6)


def test_what_threads_lose_adds_up_to_the_time():
    stretches = [TimedStretch([launch(4e4, 4e4, 4e4), launch(1e4, nbytes=5e5)], runs=3)]
    for cores in (2, 3, 8):
        found = replay(stretches, cores, 10.0)
        line = LINE_NANOSECONDS
        few = 3 * (makespan(stretches[0].launches[:1], cores, 0.0) + 1e4)
        assert abs(found.work + found.idle - few) < 1e-6
        assert abs(found.memory - 3 * (5e5 / 10 - 1e4 - 3 * line)) < 1e-6
        assert found.barriers > 3 * line
        assert abs(sum(found.lost.values(), found.work) + 3 * subject._LINES_OF_A_RUN * line - found.nanoseconds) < 1


def test_a_stretch_of_single_tiles_runs_on_one_thread():
    stretch = TimedStretch([launch(5), launch(7)], alone=True)
    assert replay([stretch], 16).nanoseconds == 12
