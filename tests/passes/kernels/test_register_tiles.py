"""Strips and blocks of register tiles cover a length once, whatever the target."""

import pytest
from gradloom.passes.kernels.register_tiles import rows, strips
from gradloom.passes.target import Target


@pytest.mark.parametrize("name", ["avx512", "avx2", "sse", "neon"])
@pytest.mark.parametrize("channels", [1, 15, 16, 17, 48, 64, 65, 100, 129, 300])
def test_strips_and_rows_cover_everything_once(channels, name):
    target = Target.cpu(name)
    found = strips(channels, 4, target.tile_vectors, target)
    widths = [found.width if i < found.wide else found.width - 1 for i in range(found.count)]
    assert sum(widths) == found.vectors == -(-channels * 4 // target.vector_bytes)
    assert set(widths) == found.widths()
    assert max(widths) <= target.tile_vectors
    for vectors in range(1, target.tile_vectors + 1):
        cut = rows(channels, vectors, target)
        sizes = [cut.most if i < cut.long else cut.most - 1 for i in range(cut.blocks)]
        assert sum(sizes) == channels
        assert set(sizes) == cut.sizes()
        assert (max(sizes) + 1) * vectors < target.vector_registers
