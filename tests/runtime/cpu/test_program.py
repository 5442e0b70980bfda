import gc
import weakref

import numpy as np
import pytest
from gradloom.runtime.codegen import intrinsics
from gradloom.runtime.codegen.kernel_cache import compile_kernel, source_salt
from gradloom.runtime.cpu import thread_pool
from gradloom.runtime.cpu.program import CONSTANT, EXTENT, POINTER, TILE, WORKER, Program

SALT = source_salt(intrinsics)


def kernel(source: str) -> int:
    return compile_kernel(source, "f", vars(intrinsics), salt=SALT).address


def fill() -> int:
    """Kernel (array, n, value): every element becomes the value."""
    return kernel("""
def f(block):
    a = array_i64(word(block, 0), word(block, 1))
    for i in range(word(block, 1)):
        a[i] = word(block, 2)
    return 0
""")


def mix() -> int:
    """Kernel (to, from, n, start, shift, c, size): to[start + i] = 5 from[(start + i + shift) % size] + c, i < n."""
    return kernel("""
def f(block):
    n = word(block, 2)
    start = word(block, 3)
    size = word(block, 6)
    to = window(array_i64(word(block, 0), size), start, n)
    source = array_i64(word(block, 1), size)
    for i in range(n):
        to[i] = 5 * source[(start + i + word(block, 4)) % size] + word(block, 5)
    return 0
""")


def fail_at() -> int:
    """Kernel (tile, failing tile, code): the code at that tile."""
    return kernel("""
def f(block):
    if word(block, 0) == word(block, 1):
        return word(block, 2)
    return 0
""")


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_words_of_every_kind(threads):
    seen = np.full((7, 4), -1)
    worker_scratch = np.zeros((threads, 8), np.int64)
    source = """
def f(block):
    row = array_i64(word(block, 0), 4)
    row[0] = word(block, 1)
    row[1] = word(block, 2)
    row[2] = word(block, 3)
    row[3] = word(block, 4)
    scratch = array_i64(word(block, 5), 8)
    scratch[0] = word(block, 4)
    return 0
"""
    arguments = [
        [POINTER, 0, 0, 32, 0],
        [CONSTANT, -5, 9, 9, 9],
        [EXTENT, 0, 65, 10, 3],
        [TILE, 0, 0, 0, 0],
        [WORKER, 0, 0, 0, 0],
        [POINTER, 1, 0, 0, 64],
    ]
    program = Program([[7, 1, 0, 1]], [[kernel(source), 0, 6]], arguments, 2, threads)
    program.bases[:] = seen.ctypes.data, worker_scratch.ctypes.data
    assert program.run() == 0
    np.testing.assert_array_equal(seen[:, 0], -5)
    np.testing.assert_array_equal(seen[:, 1], [30] * 6 + [15])
    np.testing.assert_array_equal(seen[:, 2], range(7))
    assert set(seen[:, 3]) <= set(range(threads))
    assert all(worker_scratch[w, 0] in (0, w) for w in range(threads))


@pytest.mark.parametrize("threads", [1, 3])
def test_an_iteration_shifts_pointers(threads):
    seen = np.zeros((4, 3), np.int64)
    args = [[POINTER, 0, 0, 8, 0, 24, 0], [CONSTANT, 1, 0, 0, 0, 0, 0], [POINTER, 1, 0, 0, 0, 5, 100]]
    program = Program([[3, 1, 0, 1, t, t + 1] for t in (3, 0, 2)], [[fill(), 0, 3]], args, 2, threads)
    program.bases[0] = seen.ctypes.data
    assert program.run() == 0
    assert seen.tolist() == [[100] * 3, [0] * 3, [310] * 3, [415] * 3]


def test_a_base_may_change_between_runs():
    a, b = np.zeros(4, np.int64), np.zeros(4, np.int64)
    program = Program(
        [[1, 1, 0, 1]], [[fill(), 0, 3]], [[POINTER, 0, 8, 0, 0], [CONSTANT, 2, 0, 0, 0], [CONSTANT, 7, 0, 0, 0]], 1
    )
    for array in (a, b):
        program.bases[0] = array.ctypes.data
        program.run()
        assert array.tolist() == [0, 7, 7, 0]


@pytest.mark.parametrize("regions", [[], [[0, 1, 0, 1]], [[5, 1, 0, 0], [0, 0, 0, 0]]])
@pytest.mark.parametrize("threads", [1, 3])
def test_empty_programs_run(regions, threads):
    assert Program(regions, [[1, 0, 0]], [], 0, threads).run() == 0


class RandomProgram:
    """Regions that shuffle numbers between buffers, with a barrier wherever one depends on another; and the truth."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.size = int(rng.integers(20, 80))
        self.buffers = rng.integers(0, 1000, (5, self.size))
        self.expected = self.buffers.copy()
        self.launches, self.calls, self.args = [], [], []
        written: set[int] = set()  # since the last barrier
        read: set[int] = set()
        for _ in range(int(rng.integers(1, 25))):
            a, b, c = (int(x) for x in rng.permutation(5)[:3])
            barrier = int({a, b, c} & written != set() or {b, c} & read != set() or rng.random() < 0.2)
            if barrier:
                written, read = set(), set()
            written |= {b, c}
            read |= {a}
            step = int(rng.integers(1, self.size + 1))
            self.launches.append([-(-self.size // step), barrier, len(self.calls), 2])
            self._instruction(b, a, step, int(rng.integers(self.size)), int(rng.integers(9)))
            self._instruction(c, b, step, 0, int(rng.integers(9)))  # of the tile that the first has just made

    def _instruction(self, to: int, source: int, step: int, shift: int, c: int) -> None:
        self.calls.append([mix(), len(self.args), 7])
        bytes_of = 8 * self.size
        self.args += [
            [POINTER, 0, to * bytes_of, 0, 0],
            [POINTER, 0, source * bytes_of, 0, 0],
            [EXTENT, 0, self.size, step, 1],
            [POINTER, 1, 0, step, 0],  # a pointer from 0 is a number: the first element of the tile
            [CONSTANT, shift, 0, 0, 0],
            [CONSTANT, c, 0, 0, 0],
            [CONSTANT, self.size, 0, 0, 0],
        ]
        self.expected[to] = 5 * np.roll(self.expected[source], -shift) + c


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(12))
def test_threads_and_tiles_do_not_change_the_numbers(seed, threads):
    truth = RandomProgram(seed)
    program = Program(truth.launches, truth.calls, truth.args, 2, threads)
    for _ in range(30):
        buffers = truth.buffers.copy()
        program.bases[0] = buffers.ctypes.data
        assert program.run() == 0
        np.testing.assert_array_equal(buffers, truth.expected)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_failure_stops_what_follows_and_the_next_run_is_whole(threads):
    state, switch = np.zeros(10, np.int64), np.array([3])
    source = """
def f(block):
    if word(word(block, 0), 0) == word(block, 1):
        return 42
    return 0
"""
    args = [
        [POINTER, 1, 0, 0, 0],
        [TILE, 0, 0, 0, 0],
        [POINTER, 0, 0, 8, 0],
        [CONSTANT, 1, 0, 0, 0],
        [CONSTANT, 9, 0, 0, 0],
    ]
    program = Program(
        [[4, 1, 0, 0], [8, 1, 0, 1], [10, 1, 1, 1]], [[kernel(source), 0, 2], [fill(), 2, 3]], args, 2, threads
    )
    program.bases[:] = state.ctypes.data, switch.ctypes.data
    for _ in range(20):
        assert program.run() == 42
        assert program.failed_launch == 1
        assert not state.any()
    switch[0] = 99
    assert program.run() == 0
    assert (state == 9).all()


def test_one_of_the_codes_of_many_failures_is_returned():
    args = [[TILE, 0, 0, 0, 0], [TILE, 0, 0, 0, 0], [CONSTANT, 5, 0, 0, 0]]
    program = Program([[50, 1, 0, 1]], [[fail_at(), 0, 3]], args, 0, threads=3)
    assert program.run() == 5


def test_a_kernel_that_raises_fails_the_run():
    program = Program([[2, 1, 0, 1]], [[kernel("def f(block):\n    raise ValueError\n"), 0, 0]], [], 0, threads=2)
    assert program.run() == intrinsics.RAISED


def test_a_program_that_cannot_use_threads_asks_for_none():
    assert Program([[1, 1, 0, 0], [1, 1, 0, 0]], [], [], 0, threads=4).threads == 1
    assert Program([[1, 1, 0, 0], [1, 0, 0, 0]], [], [], 0, threads=4).threads == 4


def test_a_program_is_freed_with_what_it_keeps_alive():
    array = np.zeros(64, np.int64)
    args = [[POINTER, 0, 0, 8, 0], [CONSTANT, 1, 0, 0, 0], [TILE, 0, 0, 0, 0]]
    fates = []
    for _ in range(50):  # each is freed while workers may still be leaving it
        kept = np.zeros(1)
        fates.append(weakref.ref(kept))
        program = Program([[64, 1, 0, 1]], [[fill(), 0, 3]], args, 1, threads=3, keep_alive=kept)
        program.bases[0] = array.ctypes.data
        assert program.run() == 0
        del program, kept
    gc.collect()
    assert [fate() for fate in fates] == [None] * 50
    assert thread_pool.size() >= 2


def count_down() -> int:
    """Kernel (counter, flag): one less, and whether it is not yet 0."""
    return kernel("""
def f(block):
    left = word(word(block, 0), 0) - 1
    set_word(word(block, 0), 0, left)
    flag = array_bool(word(block, 1), 1)
    flag[0] = left > 0
    return 0
""")


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_flag_decides_after_each_stretch_what_runs_next(threads):
    """while (flag) { a = roll(5 b); b = roll(5 a + 1); count down }; then b = 5 a + 2 where a second flag is true."""
    size = 40
    counter, flags = np.zeros(1, np.int64), np.zeros(2, np.bool_)
    buffers = np.zeros((2, size), np.int64)

    def instruction(to, source, shift, c):
        first = len(args)
        args.extend(
            [[POINTER, 0, 8 * size * to, 0, 0], [POINTER, 0, 8 * size * source, 0, 0], [EXTENT, 0, size, 6, 1],
             [POINTER, 1, 0, 6, 0], [CONSTANT, shift, 0, 0, 0], [CONSTANT, c, 0, 0, 0], [CONSTANT, size, 0, 0, 0]]
        )  # fmt: skip
        return [mix(), first, 7]

    args: list[list[int]] = []
    calls = [instruction(0, 1, 7, 0), instruction(1, 0, 3, 1), instruction(1, 0, 0, 2)]
    calls.append([count_down(), len(args), 2])
    args += [[POINTER, 2, 0, 0, 0], [POINTER, 3, 0, 0, 0], [POINTER, 3, 1, 0, 0]]
    loop_flag, last_flag = len(args) - 2, len(args) - 1
    launches = [[7, 1, 0, 1], [7, 1, 1, 1], [1, 1, 3, 1], [7, 1, 2, 1]]
    stretches = [[0, 0, loop_flag, 1, 2], [0, 3, loop_flag, 1, 2], [3, 3, last_flag, 3, -1], [3, 4, -1, -1, -1]]
    program = Program(launches, calls, args, 4, threads, stretches=np.array(stretches))
    program.bases[:] = buffers.ctypes.data, 0, counter.ctypes.data, flags.ctypes.data
    for run in range(60):
        times, last = run % 4, run % 3 == 0
        buffers[:] = np.arange(2 * size).reshape(2, size) + run
        a, b = buffers.copy()
        counter[0], flags[:] = times, (times > 0, last)
        for _ in range(times):
            a = 5 * np.roll(b, -7)
            b = 5 * np.roll(a, -3) + 1
        assert program.run() == 0
        np.testing.assert_array_equal(buffers, [a, 5 * a + 2 if last else b])


def test_a_failure_in_a_stretch_ends_the_run():
    flag = np.ones(1, np.bool_)
    args = [[TILE, 0, 0, 0, 0], [CONSTANT, 3, 0, 0, 0], [CONSTANT, 5, 0, 0, 0], [POINTER, 0, 0, 0, 0]]
    stretches = np.array([[0, 1, 3, 0, -1]])
    for threads in (1, 3):
        program = Program([[9, 1, 0, 1]], [[fail_at(), 0, 3]], args, 1, threads, stretches=stretches)
        program.bases[0] = flag.ctypes.data
        assert program.run() == 5  # and not for ever, though the flag is true


@pytest.mark.parametrize(
    ("stretches", "message"),
    [
        ([[0, 2, -1, -1, -1]], "launches must be among the 1"),
        ([[1, 0, -1, -1, -1]], "launches must be among the 1"),
        ([[0, 1, -1, 1, -1]], "one of 1, or -1"),
        ([[0, 1, 0, -1, -1]], "is no pointer"),
        ([[0, 1, 7, -1, -1]], "is no pointer"),
        (np.zeros((0, 7)), "launches must be among the 1"),
    ],
)
def test_stretches_that_make_no_sense_are_refused(stretches, message):
    with pytest.raises(ValueError, match=message):
        Program([[1, 1, 0, 1]], [[1, 0, 1]], [[TILE, 0, 0, 0, 0]], 0, stretches=np.asarray(stretches))


@pytest.mark.parametrize(
    ("launches", "calls", "args", "bases", "threads", "message"),
    [
        ([[1, 1, 0]], [], [], 0, 1, r"launches must be \[n, 6\], not \[1, 3\]"),
        ([[1, 1, 0, 2]], [[1, 0, 0]], [], 0, 1, "calls must be among the 1"),
        ([[1, 1, 0, 1]], [[1, 0, 2]], [[0] * 5], 0, 1, "arguments must be among the 1"),
        ([[-1, 1, 0, 1]], [[1, 0, 0]], [], 0, 1, "tiles"),
        ([[1, 1, 0, 1]], [[0, 0, 0]], [], 0, 1, "has no kernel"),
        ([[1, 1, 0, 1]], [[1, 0, 1]], [[5, 0, 0, 0, 0]], 0, 1, "kinds of arguments"),
        ([[1, 1, 0, 1]], [[1, 0, 1]], [[POINTER, 2, 0, 0, 0]], 2, 1, "one of 2"),
        ([[1, 1, 0, 1]], [[1, 0, 0]], [], 0, 0, "threads must be from 1"),
    ],
)
def test_tables_that_make_no_sense_are_refused(launches, calls, args, bases, threads, message):
    with pytest.raises(ValueError, match=message):
        Program(launches, calls, args, bases, threads)


def test_a_timed_run_times_each_tile_and_counts_each_stretch():
    values = np.zeros(4, np.int64)
    add = kernel("""
def f(block):
    a = array_i64(word(block, 0), 4)
    a[word(block, 1)] += 1
    return 0
""")
    program = Program([[4, 1, 0, 1], [3, 1, 0, 1]], [[add, 0, 2]], [[POINTER, 0, 0, 0, 0], [TILE, 0, 0, 0, 0]], 1, 2)
    program.bases[0] = values.ctypes.data
    with program.timed() as (times, runs):
        assert program.run() == 0
        assert program.run() == 0
    assert times.shape == (7,)
    assert (times >= 0).all()
    assert runs.tolist() == [2]
    assert program.run() == 0
    assert runs.tolist() == [2]
    assert values.tolist() == [6, 6, 6, 3]
