"""Stretches: the rows that lead through stages with forks, followed as the driver follows them."""

from collections.abc import Iterator

from gradloom.runtime.cpu.control_block import END, NO_FLAG
from gradloom.runtime.cpu.stretches import ForkRow, Stage, Stretches, in_inner_iteration, in_iteration
from hypothesis import given, settings
from hypothesis import strategies as st


@st.composite
def stages(draw: st.DrawFn, depth: int = 3) -> list[Stage]:
    """A few stages, some of which are forks; launches and flags have numbers of their own."""
    found: list[Stage] = []
    for _ in range(draw(st.integers(0, 3))):
        number = draw(st.integers(0, 99))
        if depth and draw(st.booleans()):
            again = draw(st.booleans())
            true, false = draw(stages(depth - 1)), [] if again else draw(stages(depth - 1))
            found.append(ForkRow(draw(st.integers(0, 4)), true, false, again))
        else:
            found.append([(number, 0, 1, 0, 0)] * draw(st.integers(1, 2)))
    return found


class Flags:
    """Flags that are true now and then, until 40 were asked; `asked` has them in order."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, int]] = []

    def __call__(self, flag: int, iteration: int, inner: int) -> bool:
        self.asked.append((flag, iteration, inner))
        return len(self.asked) < 40 and (len(self.asked) + flag) % 3 == 0


def as_written(stages: list[Stage], flag: Flags) -> Iterator[tuple[int, ...]]:
    """The launches that run, each with its barrier."""
    for stage in stages:
        if isinstance(stage, ForkRow):
            taken = flag(stage.flag, stage.iteration, stage.inner)
            yield from as_written(stage.true if taken else stage.false, flag)
            while stage.again and taken:
                taken = flag(stage.flag, stage.iteration, stage.inner)
                yield from as_written(stage.true if taken else [], flag)
        else:
            yield from ((row[0], int(k == 0), *row[1:]) for k, row in enumerate(stage))


def as_driven(stretches: Stretches, flag: Flags) -> Iterator[tuple[int, ...]]:
    """As the driver runs them."""
    number = 0
    while number != END:
        first, end, argument, yes, no, iteration, inner = map(int, stretches.rows[number])
        yield from (tuple(map(int, row)) for row in stretches.launches[first:end])
        number = yes if argument == NO_FLAG or flag(argument, iteration, inner) else no


@settings(max_examples=60, deadline=None)
@given(stages())
def test_the_rows_run_what_the_stages_say(found: list[Stage]):
    for each in (found, in_iteration(found, 3), in_inner_iteration(in_iteration(found, 3), 5)):
        one, other = Flags(), Flags()
        rows = Stretches(each)
        assert list(as_driven(rows, one)) == list(as_written(each, other))
        assert one.asked == other.asked


def test_a_program_without_forks_is_one_stretch():
    rows = Stretches([[(1, 0, 1, 0, 0)], [(2, 1, 1, 0, 0), (3, 2, 1, 0, 0)]])
    assert rows.rows.tolist() == [[0, 3, NO_FLAG, END, END, 0, 0]]
    assert rows.launches.tolist() == [[1, 1, 0, 1, 0, 0], [2, 1, 1, 1, 0, 0], [3, 0, 2, 1, 0, 0]]
