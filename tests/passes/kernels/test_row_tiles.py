"""Tiles of rows cover them once, in whole lines and images where those are added up."""

import math

import pytest
from gradloom.passes.kernels.row_tiles import RowTiles, accumulator_count, column_tiles, even_tiles
from gradloom.passes.target import DEFAULT_TARGET


def ranges(cut: RowTiles, rows: int) -> list[tuple[int, int]]:
    """First row and end of each tile, as the loops of a kernel find them."""
    found: list[tuple[int, int]] = []
    for tile in range(cut.count(rows)):
        group, part = divmod(tile, cut.parts)
        first = group * cut.whole + part * cut.step
        found.append((first, min(first + cut.step, (group + 1) * cut.whole, rows)))
    return found


@pytest.mark.parametrize("columns", [1, 16, 64, 500, 40000])
@pytest.mark.parametrize("rows", [(1,), (1000,), (8, 128), (32, 32, 32), (7, 8, 8), (5, 7, 7), (2, 224, 224),
                                  (3, 1000, 10), (4, 56, 56), (2, 3, 5, 7), (0, 4, 4), (3, 0, 2)])  # fmt: skip
def test_tiles_cover_all_rows_once(rows, columns):
    total = math.prod(rows)
    cut = column_tiles(rows, columns, DEFAULT_TARGET)
    found = ranges(cut, total)
    assert [i for first, end in found for i in range(first, end)] == list(range(total))
    assert all(first < end for first, end in found)
    if len(rows) >= 3 and total:
        # Of a volume the images are cut where one of them fills a tile.
        cuts = [(math.prod(rows[axis:]), math.prod(rows[axis + 1 :])) for axis in range(1, len(rows) - 1)]
        assert any(
            all(first % line == 0 for first, _ in found)
            and cut.whole % image == 0
            and (cut.parts == 1 or cut.whole == image)
            for image, line in cuts
        )


def test_images_are_cut_as_a_convolution_cuts_them():
    assert column_tiles((32, 32, 32), 16, DEFAULT_TARGET) == RowTiles(1024, 1, 1024)
    assert column_tiles((32, 8, 8), 64, DEFAULT_TARGET) == RowTiles(128, 1, 128)
    assert column_tiles((32, 56, 56), 64, DEFAULT_TARGET) == RowTiles(8 * 56, 7, 56 * 56)
    assert column_tiles((256, 64), 64, DEFAULT_TARGET) == even_tiles(256, 256)


def test_lanes_are_for_short_rows():
    assert accumulator_count(16, 1024) == 16
    assert accumulator_count(500, 1024) == 1
    assert accumulator_count(10, 32) == 8
    assert accumulator_count(10, 2) == 1
