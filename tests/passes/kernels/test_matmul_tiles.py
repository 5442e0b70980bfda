"""How products are cut: every register tile that a kernel may meet is among those it is made with."""

from dataclasses import replace

import numpy as np
import pytest
from gradloom.ir import Builder, spec
from gradloom.passes.graph.views import View, own
from gradloom.passes.kernels import matmul_tiles as subject
from gradloom.passes.kernels.dot_products import rows_by_dots
from gradloom.passes.kernels.register_tiles import Rows, strips
from gradloom.passes.target import Target

SHAPES = [
    (1, 64),
    (4, 32),
    (7, 129),
    (20, 1000),
    (32, 1024),
    (33, 70),
    (100, 784),
    (128, 48),
    (600, 47),
    (600, 1100),
    (2048, 2048),
]


def matrices(m: int, k: int, n: int, dtype: str, turned: bool) -> tuple[View, View]:
    b = Builder()
    x, y = b.input(spec((m, k), dtype)), b.input(spec((n, k) if turned else (k, n), dtype))
    return own(x), View(y, 0, (k, n), (1, k)) if turned else own(y)


WIDE = Target.cpu("avx512")
TARGETS = [WIDE, Target.cpu("avx2"), Target.cpu("sse"), Target.cpu("neon")]


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("k", [3, 64, 700])
@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_all_register_tiles_are_known(m: int, n: int, k: int, turned: bool, dtype: str, target: Target):
    size = np.dtype(dtype).itemsize
    x, y = matrices(m, k, n, dtype, turned)
    cut = subject.dot_tiles(x, y, 1, target)
    assert (cut.down - 1) * cut.rows < m <= cut.down * cut.rows
    assert (cut.across - 1) * cut.columns < n <= cut.across * cut.columns
    if not cut.shapes:
        assert turned
        assert m < rows_by_dots(k, target.vector_bytes // size)
        rows = {min(cut.rows, m - i) for i in range(0, m, cut.rows)}
        heights = {height for length in rows for height in Rows.of(length, cut.most_dots[0]).sizes()}
        assert {height for height, _ in cut.dots} == heights
        assert cut.worker_bytes == 0
        return
    met: set[tuple[int, int, bool]] = set()
    for rows in {min(cut.rows, m - i) for i in range(0, m, cut.rows)}:
        for columns in {min(cut.columns, n - j) for j in range(0, n, cut.columns)}:
            strip = strips(columns, size, cut.most_vectors, target)
            blocks = Rows.of(rows, cut.most_rows(size, target))
            assert {(height, width) for height in blocks.sizes() for width in strip.widths()} <= set(cut.shapes)
            left = columns * size
            for i in range(strip.count):
                width = strip.width if i < strip.wide else strip.width - 1
                met |= {(height, width, left < width * target.vector_bytes) for height in blocks.sizes()}
                left -= width * target.vector_bytes
    assert met == cut.tiles_met(m, n, size, target)
    one = target.round_to_line(min(k, subject.DEPTH) * target.vector_bytes)
    packed = cut.rows >= subject.PACKED_ROWS if target is not WIDE else subject.is_far(x, y, target)
    room = max(m * n * size, 2 * target.l1_bytes if packed else 0)
    assert 4 * cut.strip_bytes <= room + 64 or cut.strip_bytes == one
    assert (cut.strip_bytes > 0) == (turned or packed)


@pytest.mark.parametrize(
    ("m", "k", "n", "dtype", "turned", "far"),
    [
        (512, 256, 1024, "float32", False, True),
        (511, 256, 1024, "float32", False, False),
        (512, 256, 1023, "float32", False, False),
        (512, 16, 512, "float64", False, True),
        (512, 256, 512, "float64", True, True),
        (1000, 256, 1024, "float32", True, False),
        (1024, 256, 40, "float32", True, True),
    ],
)
def test_tall_tiles_read_copies_of_rows_that_lie_far_apart(m: int, k: int, n: int, dtype: str, turned: bool, far: bool):
    x, y = matrices(m, k, n, dtype, turned)
    cut = subject.dot_tiles(x, y, 1, WIDE)
    assert subject.is_far(x, y, WIDE) == far
    assert (cut.strip_bytes > 0) == (far or turned)
    if far and not turned:
        assert cut.down == 1
        assert cut.rows_ahead
    assert not subject.is_far(x, y, Target.cpu("avx2"))


@pytest.mark.parametrize(
    ("m", "k", "n", "dtype", "turned", "fetched"),
    [
        (2048, 256, 64, "float32", False, True),
        (1024, 64, 32, "float64", False, True),
        (1024, 63, 16, "float32", False, False),  # it stays in the second cache
        (256, 2048, 128, "float32", False, False),  # its rows compete for places
        (256, 2064, 128, "float32", False, True),
        (8, 65536, 64, "float32", False, False),
        (65536, 8, 64, "float32", False, False),
        (600, 512, 64, "float32", True, False),  # what is copied to the panel is fetched instead
    ],
)
def test_rows_that_come_from_afar_are_fetched_ahead(m: int, k: int, n: int, dtype: str, turned: bool, fetched: bool):
    for target in (WIDE, Target.cpu("avx2")):
        x, y = matrices(m, k, n, dtype, turned)
        assert subject.dot_tiles(x, y, 1, target).rows_ahead == fetched


@pytest.mark.parametrize(
    ("m", "k", "n", "turned", "by"),
    [
        (128, 512, 10, True, "dots"),
        (128, 512, 31, True, "dots"),
        (128, 64, 31, True, "registers"),
        (128, 8, 10, True, "registers"),
        (128, 512, 32, True, "registers"),
        (63, 512, 512, True, "dots"),
        (64, 512, 512, True, "registers"),
        (64, 784, 512, True, "dots"),
        (65, 784, 512, True, "registers"),
        (63, 512, 512, False, "registers"),
        (4, 64, 100, True, "dots"),
        (1, 1000, 1000, True, "dots"),
        (3, 8, 1000, True, "registers"),
        (8, 64, 1000, True, "registers"),
        (1, 700, 700, False, "registers"),
        (1, 4096, 4096, False, "sweeps"),
        (2, 4096, 4096, False, "registers"),
        (128, 512, 10, False, "columns"),
        (128, 512, 4, False, "columns"),
        (128, 512, 14, False, "registers"),
        (128, 512, 16, False, "registers"),
        (128, 512, 20, False, "both"),
        (128, 512, 30, False, "registers"),
        (4, 512, 10, False, "registers"),
        (128, 8, 10, False, "registers"),
        (128, 512, 3, False, "dots"),
        (1024, 1024, 2, False, "dots"),
        (32, 200, 50, False, "both"),
        (128, 512, 100, False, "registers"),
        (128, 512, 1000, False, "registers"),
        (1024, 1024, 1, False, "dots"),
        (1024, 1 << 21, 1, False, "dots"),
        (0, 5, 6, False, "blas"),
        (5, 0, 6, False, "blas"),
    ],
)
def test_the_shape_says_what_multiplies(m: int, k: int, n: int, turned: bool, by: str):
    cut = subject.dot_tiles(*matrices(m, k, n, "float32", turned), 1, WIDE)
    tiles = "both" if cut.last.count and cut.shapes else "columns" if cut.last.count else "registers"
    assert ("blas" if cut.is_by_blas else "dots" if cut.dots else "sweeps" if cut.swept else tiles) == by


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("turned", [False, True])
def test_blas_multiplies_nothing_by_default(turned: bool, dtype: str, target: Target):
    for m in (1, 3, 4, 17, 200):
        for k in (1, 7, 64, 3000):
            for n in (*range(1, 36), 100, 1000):
                x, y = matrices(m, k, n, dtype, turned)
                left = View(own(Builder().input(spec((k, m), dtype))).base, 0, (m, k), (1, m))
                assert not subject.dot_tiles(x, y, 1, target).is_by_blas
                assert not subject.dot_tiles(left, y, 1, target).is_by_blas


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_sums_of_column_tiles_fit_the_registers(target: Target):
    for dtype in ("float32", "float64"):
        lanes = target.vector_bytes // np.dtype(dtype).itemsize
        for n in range(1, 2 * lanes):
            x, y = matrices(200, 64, n, dtype, False)
            turned = View(x.base, 0, (200, 64), (1, 200))
            last, of_turned = (subject.dot_tiles(left, y, 1, target).last for left in (x, turned))
            assert last.count in (0, n % lanes)
            assert last.vectors * last.count + lanes * (last.count > 0) + 2 <= target.vector_registers
            assert of_turned.vectors * (of_turned.count + 1) + 2 <= target.vector_registers


def test_every_tile_of_dot_products_is_known():
    for m, n in ((1, 1000), (2, 33), (3, 7), (700, 1), (65, 10), (33, 31)):
        for target in TARGETS:
            cut = subject.dot_tiles(*matrices(m, 2000, n, "float32", True), 1, target)
            for rows in {min(cut.rows, m - i) for i in range(0, m, cut.rows)}:
                for columns in {min(cut.columns, n - j) for j in range(0, n, cut.columns)}:
                    if cut.dots:
                        blocks = (Rows.of(length, most).sizes() for length, most in zip((rows, columns), cut.most_dots))
                        heights, widths = blocks
                        assert {(height, width) for height in heights for width in widths} <= set(cut.dots)
            for rows, columns in cut.dots:
                assert rows * columns + columns + 1 < target.vector_registers


def test_the_only_column_of_a_product_is_a_row_where_the_left_operand_lies_in_columns():
    x, y = matrices(700, 300, 1, "float32", False)
    turned = View(x.base, 0, (700, 300), (1, 700))
    row, right = subject.as_row(turned, y)
    assert (row.shape, right.shape, right.strides) == ((1, 300), (300, 700), (700, 1))
    assert subject.as_row(row, right) == (row, right)
    assert subject.as_row(x, y) == (x, y)


def test_a_target_says_what_multiplies():
    operands = matrices(128, 128, 128, "float32", False)
    assert subject.dot_tiles(*operands, 1, WIDE).shapes
    assert not subject.dot_tiles(*operands, 1, replace(WIDE, matmul="blas")).shapes


def test_tiles_of_whole_rows_take_no_scratch_where_vectors_are_long():
    assert subject.row_tiles(*matrices(512, 128, 128, "float32", False), 128, WIDE).shapes
    assert subject.row_tiles(*matrices(512, 128, 128, "float32", True), 128, WIDE).shapes == ()
    assert subject.panel_bytes(128, 128, 4, WIDE) == 0


@pytest.mark.parametrize("target", TARGETS[1:], ids=str)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("rows", "k"), [(16, 128), (48, 3), (112, 700)])
def test_panels_of_tiles_of_whole_rows_fit_what_is_planned_for_them(rows: int, k: int, turned: bool, target: Target):
    x, y = matrices(512, k, 130, "float32", turned)
    of_rows = View(own(Builder().input(spec((k, 512), "float32"))).base, 0, (512, k), (1, 512))
    for left in (x, of_rows):
        cut = subject.row_tiles(left, y, rows, target)
        assert cut.panel_bytes <= subject.panel_bytes(rows, k, 4, target)
        assert (cut.block_bytes > 0) == (left is of_rows and rows >= subject.PACKED_ROWS)


def test_a_large_product_has_more_tiles_that_take_about_as_long_as_a_small_one():
    assert subject.cut_product(1, 128, 512, 784).tiles == 4
    assert subject.cut_product(1, 256, 2048, 2048).tiles == 16


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_what_is_said_to_be_in_registers_is_so_in_every_layout_and_with_more_rows(target: Target):
    for k in (16, 100, 784):
        for m in (1, 4, 8, 31, 64, 65, 200):
            x, _ = matrices(m, k, 512, "float32", True)
            if subject.is_in_registers(x.base.type, spec((k, 512)), target):
                for rows in (m, 2 * m, 16 * m):
                    for turned in (False, True):
                        assert subject.dot_tiles(*matrices(rows, k, 512, "float32", turned), 1, target).shapes
    assert subject.is_in_registers(spec((64, 100)), spec((100, 512)), target)
