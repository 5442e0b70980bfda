"""The benchmark of single convolutions: both sides compute the same, and the table says what was measured."""

import pytest

pytest.importorskip("torch")

from gradloom.tools.bench import convolutions

pytestmark = pytest.mark.peers


@pytest.fixture(autouse=True)
def threads_as_before():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SMALL = convolutions.Shape(2, 4, 6, 5, 3, 2)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        (SMALL, "nhwc"),
        (SMALL, "nchw"),
        (convolutions.Shape.parse("4->6 3x3 /2 5px n2 g2 d2 p1 t"), "nhwc"),
        (convolutions.Shape.parse("4->6 3 /2 9px n2"), "nchw"),
    ],
)
def test_every_side_is_timed_in_every_round(shape, layout):
    seconds = convolutions.measure(shape, 2, layout, 1)
    assert set(seconds) == {"gradloom", "torch nchw", "torch nhwc"}
    assert all(len(times) == 2 and min(times) > 0 for times in seconds.values())


def test_the_table_has_a_row_for_each_shape_and_the_mean(monkeypatch, capsys):
    monkeypatch.setattr(convolutions, "GRID", (SMALL, convolutions.Shape(1, 3, 4, 4, 1)))
    monkeypatch.setattr(convolutions, "RELATIVES", (convolutions.Shape(1, 4, 4, 9, 3, axes=1),))
    convolutions.main(["--rounds", "1", "--cpu"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("4->6 3x3 /2 5px n2")
    assert lines[2].startswith("3->4 1x1 /1 4px n1")
    assert lines[3].startswith("geometric mean of the ratios")
    assert lines[6].startswith("4->4 3 /1 9px n1")
    convolutions.main(["--rounds", "1", "--cpu", "3->4 1x1 /1 4px n1"])
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_shapes_are_read_as_they_are_written():
    for shape in (*convolutions.GRID, *convolutions.RELATIVES):
        assert convolutions.Shape.parse(str(shape)) == shape
    with pytest.raises(ValueError, match="'64 channels' is no shape like"):
        convolutions.Shape.parse("64 channels")


def test_the_grid_covers_what_people_train():
    grid = convolutions.GRID
    assert len(grid) >= 20
    assert {shape.kernel for shape in grid} == {1, 3, 5}
    assert {shape.stride for shape in grid} == {1, 2}
    assert (min(s.channels for s in grid), max(s.channels for s in grid)) == (16, 256)
    assert (min(s.size for s in grid), max(s.size for s in grid)) == (7, 56)
    relatives = convolutions.RELATIVES
    assert any(s.groups == s.channels for s in relatives)
    assert any(1 < s.groups < s.channels for s in relatives)
    assert any(s.dilation > 1 for s in relatives)
    assert {s.transposed for s in relatives} == {True, False}
    assert {s.axes for s in relatives} == {1, 2}
