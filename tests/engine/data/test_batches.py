"""Batches of arrays."""

import gradloom as gl
import numpy as np
import pytest

ARRAYS = {"x": np.arange(20).reshape(10, 2), "y": (np.arange(10), [np.arange(10.0)])}


def test_every_example_comes_once_and_rows_stay_together():
    batches = list(gl.data.batches(ARRAYS, 3, seed=1))
    assert [len(b["y"][0]) for b in batches] == [3, 3, 3, 1]
    order = np.concatenate([b["y"][0] for b in batches])
    assert sorted(order) == list(range(10))
    assert list(order) != list(range(10))
    np.testing.assert_array_equal(np.concatenate([b["x"] for b in batches]), ARRAYS["x"][order])
    np.testing.assert_array_equal(np.concatenate([b["y"][1][0] for b in batches]), order)
    assert all(b["x"].flags.c_contiguous for b in batches)


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(**options):
        return np.concatenate(list(gl.data.batches(np.arange(50), 7, **options))).tolist()

    assert order(seed=1, epoch=2) == order(seed=1, epoch=2)
    assert len({tuple(order(seed=s, epoch=e)) for s in range(3) for e in range(3)}) == 9
    assert order(shuffle=False) == list(range(50))


def test_the_last_smaller_batch_may_be_dropped():
    assert [len(b) for b in gl.data.batches(np.zeros(10), 4, drop_last=True)] == [4, 4]
    assert [len(b) for b in gl.data.batches(np.zeros(8), 4, drop_last=True)] == [4, 4]


def test_batches_are_contiguous_where_the_arrays_are_not():
    (batch,) = gl.data.batches(np.arange(20).reshape(2, 10).T, 10, shuffle=False)
    assert batch.flags.c_contiguous


@pytest.mark.parametrize(
    ("arrays", "size", "options", "message"),
    [
        ({"x": np.zeros(3), "y": np.zeros(4)}, 2, {}, "different numbers of examples: x has 3, y has 4"),
        ({}, 2, {}, "no arrays"),
        (np.zeros((0, 3)), 2, {}, "hold no examples"),
        ({"x": np.float32(1)}, 2, {}, "x is a scalar"),
        (np.zeros(3), 0, {}, "batch_size is at least 1, got 0"),
        (np.zeros(3), 4, {"drop_last": True}, "3 examples make no batch of 4"),
    ],
)
def test_what_makes_no_batch_is_an_error_at_once(arrays, size, options, message):
    with pytest.raises(ValueError, match=message):
        gl.data.batches(arrays, size, **options)


class Examples:
    """Examples by their number, as torch's datasets are."""

    def __init__(self, example, count):
        self.example, self.count = example, count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return self.example(i)


def test_batches_of_a_dataset_are_its_examples_stacked():
    dataset = Examples(lambda i: {"x": np.full((2, 3), i, "float32"), "y": (i, i % 2 == 0)}, 7)
    x, y = np.stack([np.full((2, 3), i, "float32") for i in range(7)]), np.arange(7)
    arrays = {"x": x, "y": (y, y % 2 == 0)}
    for options in ({"shuffle": False}, {"seed": 3, "epoch": 2}, {"drop_last": True}):
        got, want = (list(gl.data.batches(given, 3, **options)) for given in (dataset, arrays))
        assert len(got) == len(want)
        for a, b in zip(got, want):
            assert a["x"].dtype == np.float32
            np.testing.assert_array_equal(a["x"], b["x"])
            np.testing.assert_array_equal(a["y"][0], b["y"][0])
            np.testing.assert_array_equal(a["y"][1], b["y"][1])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (Examples(lambda i: np.zeros(i + 1), 3), ValueError, r"example \d of the dataset has shape .* pad or cut them"),
        (Examples(lambda i: (i,) * (i + 1), 3), TypeError, r"example \d of the dataset is"),
        (Examples(lambda i: (1, 2) if i % 2 else np.ones(2), 5), TypeError, r"example \d of the dataset is PyTreeSpec"),
        (Examples(lambda i: "text", 3), TypeError, r"example \d of the dataset is str of <U4, which holds no numbers"),
        (Examples(lambda i: i, 0), ValueError, "the dataset holds no examples"),
        ({"x": Examples(lambda i: i, 3)}, TypeError, "x is of type Examples.*give a dataset by itself"),
        ((i for i in range(3)), TypeError, "type generator.*such as a DataLoader, is iterated over"),
        (np.array(["a", "b"]), TypeError, "the array is ndarray of <U1, which holds no numbers"),
    ],
)
def test_what_gives_no_batches_of_numbers_is_an_error(given, error, message):
    with pytest.raises(error, match=message):
        list(gl.data.batches(given, 2))


@pytest.mark.peers
def test_datasets_of_torch_give_their_examples():
    torch = pytest.importorskip("torch")
    from torch.utils import data

    x, y = torch.arange(20.0).reshape(10, 2), torch.arange(10)
    dataset = data.TensorDataset(x, y)
    twice, part = data.ConcatDataset([dataset, dataset]), data.Subset(dataset, [1, 3])
    for given, count in ((dataset, 10), (twice, 20), (part, 2)):
        seen = [label for _, labels in gl.data.batches(given, 4) for label in labels]
        assert len(seen) == count
        for rows, labels in gl.data.batches(given, 4, seed=1):
            np.testing.assert_array_equal(rows, x.numpy()[labels])
    mixed = Examples(lambda i: torch.tensor(i) if i else np.array(i), 4)
    assert next(gl.data.batches(mixed, 4, shuffle=False)).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="pad or cut them"):
        list(gl.data.batches(Examples(lambda i: torch.ones(i + 1), 2), 2))
    with pytest.raises(TypeError, match="DataLoader"):
        gl.data.batches(data.DataLoader(dataset, 2), 2)
