"""The benchmark of single convolutions: both sides compute the same, and the table says what was measured."""

import pytest

pytest.importorskip("torch")

from gradloom.tools.bench import convolutions
from gradloom.tools.bench.convolution_shapes import GRID, Shape

pytestmark = pytest.mark.peers


@pytest.fixture(autouse=True)
def threads_as_before():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SMALL = Shape(2, 4, 6, 5, 3, 2)


@pytest.mark.parametrize(
    ("shape", "layout", "part"),
    [
        (SMALL, "nhwc", "all"),
        (SMALL, "nchw", "weight"),
        (Shape.parse("4->6 3x3 /2 5px n2 g2 d2 p1 t"), "nhwc", "input"),
        (Shape.parse("4->6 3 /2 9px n2"), "nchw", "forward"),
        (Shape.parse("4->6 3x3x3 /2 3px n2 g2"), "nhwc", "weight"),
    ],
)
def test_every_side_is_timed_in_every_round(shape, layout, part):
    seconds = convolutions.measure(shape, convolutions.Setting(part, 2, layout, 1))
    assert set(seconds) == {"gradloom", "torch nchw", "torch nhwc"}
    assert all(len(times) == 2 and min(times) > 0 for times in seconds.values())


def test_the_table_has_a_row_for_each_shape_and_means(monkeypatch, capsys):
    lines = (Shape(1, 4, 4, 9, 3, axes=1),)
    monkeypatch.setattr(convolutions, "GRID", {"images": (SMALL, Shape(1, 3, 4, 4, 1)), "lines": lines})
    monkeypatch.setattr(
        convolutions, "measure", lambda shape, setting: {"a": [2.0, 4.0], "b": [4.0] * 2, "c": [8.0] * 2}
    )
    convolutions.main(["--rounds", "2", "--cpu"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["4->6", "3x3", "/2", "5px", "n2", "3000.00", "4000.00", "0.75", "0"]
    assert lines[2].startswith("3->4 1x1 /1 4px n1")
    assert lines[3].startswith("images: geometric mean")
    assert lines[6].startswith("4->4 3 /1 9px n1")
    assert lines[10].split() == ["all:", "geometric", "mean", "0.75"]
    convolutions.main(["--rounds", "1", "--cpu", "3->4 1x1 /1 4px n1"])
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_shapes_are_read_as_they_are_written():
    for shape in (shape for shapes in GRID.values() for shape in shapes):
        assert Shape.parse(str(shape)) == shape
    with pytest.raises(ValueError, match="'64 channels' is no shape like"):
        Shape.parse("64 channels")


def test_the_grid_covers_what_people_train():
    grid = [shape for shapes in GRID.values() for shape in shapes]
    assert len(grid) == len(set(grid)) == 60
    assert {shape.axes for shape in grid} == {1, 2, 3}
    assert {shape.kernel for shape in grid if shape.axes == 2} >= {1, 3, 5, 7}
    assert {shape.stride for shape in grid} >= {1, 2}
    assert {shape.channels // shape.groups for shape in grid if shape.groups > 1} >= {1, 2, 3, 4}
    assert (min(s.channels for s in grid), max(s.channels for s in grid)) == (1, 512)
    assert (min(s.size for s in grid), max(s.size for s in grid if s.axes == 2)) == (7, 112)
    assert any(s.dilation > 1 for s in grid)
    assert {(s.transposed, s.axes) for s in grid} == {(t, n) for t in (False, True) for n in (1, 2, 3)}
    assert any((s.kernel, s.stride, s.padded) == (1, 2, 0) for s in grid)
