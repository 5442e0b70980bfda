"""Loaders: each example once an epoch, from any place on, in any thread."""

import threading
import time
from itertools import chain

import gradloom as gl
import numpy as np
import pytest

TREE = {"x": np.arange(20.0, dtype="float32").reshape(10, 2), "y": np.arange(10)}


def labels(batches):
    return [batch["y"].tolist() for batch in batches]


def test_arrays_give_each_example_once_an_epoch_in_another_order():
    loader = gl.data.Arrays(TREE, batch_size=4, seed=3)
    first, second = labels(loader), labels(loader)
    assert len(loader) == 3
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(10))
    assert first != second
    assert labels(gl.data.batches(TREE, 4, seed=3, epoch=1)) == second
    assert len(gl.data.Arrays(TREE, 4, drop_last=True)) == len(list(gl.data.Arrays(TREE, 4, drop_last=True))) == 2


def test_a_loader_goes_on_where_its_state_was_taken():
    loader = gl.data.Arrays(TREE, batch_size=3, seed=1).map(lambda batch: batch).prefetch()
    list(loader)
    taken = iter(loader)
    next(taken), next(taken)
    state = loader.state_dict()
    assert state == {"epoch": 1, "batch": 2}
    rest = labels(taken)
    assert loader.state_dict() == {"epoch": 2, "batch": 0}
    other = gl.data.Arrays(TREE, batch_size=3, seed=1)
    other.load_state_dict(state)
    assert labels(other) == rest
    assert labels(other) == labels(gl.data.batches(TREE, 3, seed=1, epoch=2))
    for wrong in ({}, {"epoch": -1, "batch": 0}, {"epoch": 0}, {"epoch": 0.5, "batch": 0}):
        with pytest.raises(ValueError, match="a loader's state is like"):
            other.load_state_dict(wrong)


def test_a_batch_may_be_asked_for_by_its_place_and_those_before_it_are_not_made():
    made = []
    loader = gl.data.Arrays(TREE, batch_size=2, shuffle=False)
    wanted = labels(loader.epoch(5))
    seen = labels(loader.map(lambda batch: made.append(1) or batch).epoch(5, 3))
    assert seen == wanted[3:]
    assert len(made) == 2


def test_a_transform_draws_by_seed_epoch_and_place():
    def noisy(batch, rng):
        return {**batch, "x": batch["x"] + rng.standard_normal(batch["x"].shape)}

    loader = gl.data.Arrays(TREE, 5, shuffle=False).map(noisy, seed=7)
    first, again = ([b["x"] for b in loader.epoch(0)] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first[1], next(loader.epoch(0, 1))["x"])
    assert not np.array_equal(first, [b["x"] for b in loader.epoch(1)])
    with pytest.raises(TypeError, match=r"write loader.map\(fn, seed=0\)"):
        gl.data.Arrays(TREE, 5).map(noisy)
    with pytest.raises(TypeError, match="map takes a function"):
        gl.data.Arrays(TREE, 5).map(3)


def test_batches_are_made_in_a_thread_ahead_of_their_use():
    threads, made = set(), threading.Event()

    def note(batch):
        threads.add(threading.current_thread())
        if len(threads) and batch["y"][0] == 4:
            made.set()
        return batch

    loader = gl.data.Arrays(TREE, 2, shuffle=False).map(note).prefetch(2)
    taken = iter(loader)
    next(taken)
    assert made.wait(10)  # the third, while the first is in use
    assert threading.main_thread() not in threads
    assert labels(taken) == [[2, 3], [4, 5], [6, 7], [8, 9]]


def test_a_thread_ends_with_its_loader_and_hands_errors_over():
    def fail(batch):
        if batch["y"][0] >= 4:
            raise RuntimeError("no such image")
        return batch

    taken = iter(gl.data.Arrays(TREE, 2, shuffle=False).map(fail).prefetch())
    assert [next(taken)["y"][0] for _ in range(2)] == [0, 2]
    with pytest.raises(RuntimeError, match="no such image"):
        next(taken)
    taken = iter(gl.data.Arrays(TREE, 1).prefetch(1))
    next(taken)
    taken.close()
    until = time.monotonic() + 10
    while any(t.name == "gradloom-prefetch" for t in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.01)
    with pytest.raises(ValueError, match="1 or more, got 0"):
        gl.data.Arrays(TREE, 1).prefetch(0)


def test_batches_of_what_gives_them_itself():
    given = list(gl.data.batches(TREE, 4, shuffle=False))
    loader = gl.data.Batches(given)
    assert len(loader) == 3
    assert labels(loader.epoch(0, 1)) == labels(given[1:])
    once = gl.data.Batches(batch for batch in given)
    assert len(list(once)) == 3
    with pytest.raises(ValueError, match="the generator gave its batches once"):
        list(once)
    with pytest.raises(TypeError, match="not known"):
        len(once)
    with pytest.raises(TypeError, match="an iterable of batches is expected, got int"):
        gl.data.Batches(3)
    with pytest.raises(TypeError, match="one after another"):
        loader[0]


def test_examples_are_parted_by_seed_and_none_is_in_two_parts():
    train, validation = gl.data.split(TREE, 0.3, seed=2)
    assert (len(train["y"]), len(validation["y"])) == (7, 3)
    assert sorted([*train["y"], *validation["y"]]) == list(range(10))
    np.testing.assert_array_equal(train["x"], TREE["x"][train["y"]])
    assert gl.data.split(TREE, 0.3, seed=2)[1]["y"].tolist() == validation["y"].tolist()
    assert gl.data.split(TREE, 0.3, seed=3)[1]["y"].tolist() != validation["y"].tolist()
    assert [len(p["y"]) for p in gl.data.split(TREE, [-1, 2, 3])] == [5, 2, 3]
    assert [len(p["y"]) for p in gl.data.split(TREE, [0.5, 0.3, 0.2])] == [5, 3, 2]

    class Squares:
        def __len__(self):
            return 10

        def __getitem__(self, i):
            return {"y": i * i}

    parts = gl.data.split(Squares(), 4)
    assert [len(part) for part in parts] == [6, 4]
    assert sorted(part[i]["y"] for part in parts for i in range(len(part))) == [i * i for i in range(10)]
    for wrong in (0.0, 1.5, 10, 0, -3, [5, 6], [-1, -1]):
        with pytest.raises(ValueError, match="part"):
            gl.data.split(TREE, wrong)
    table = gl.data.split({"word": np.array(list("abcdefghij")), "y": TREE["y"]}, 0.3, seed=2)[1]
    assert table["word"].tolist() == ["abcdefghij"[i] for i in validation["y"]]
    with pytest.raises(TypeError, match=r"word is ndarray of <U1, which holds no numbers; gl.data.categories makes"):
        gl.data.Arrays(table, 2)


def test_sequences_are_padded_to_one_length():
    padded, lengths = gl.data.pad_sequences([[1, 2, 3], [4], []], value=-1)
    np.testing.assert_array_equal(padded, [[1, 2, 3], [4, -1, -1], [-1, -1, -1]])
    assert lengths.tolist() == [3, 1, 0]
    assert gl.data.pad_sequences([np.zeros((2, 5), "float32")], length=4)[0].shape == (1, 4, 5)
    for given, options, message in (
        ([], {}, "no sequences"),
        ([[1, 2]], {"length": 1}, "the longest sequence has 2"),
        ([np.zeros((1, 2)), np.zeros((1, 3))], {}, "only the first axis may differ"),
    ):
        with pytest.raises(ValueError, match=message):
            gl.data.pad_sequences(given, **options)


@pytest.mark.parametrize("lengths", [3, [4, 8, 16]])
def test_buckets_give_each_sequence_once_in_a_few_lengths(lengths):
    rng = np.random.default_rng(0)
    examples = [
        {"x": np.full(n, i, "int64"), "y": np.full(n, i), "label": np.int64(i)}
        for i, n in enumerate(rng.integers(1, 17, 50))
    ]
    loader = gl.data.Buckets(examples, 8, lengths=lengths, value={"x": 0, "y": -100}, seed=1)
    for epoch in range(2):
        seen, shapes = [], set()
        for batch in loader.epoch(epoch):
            shapes.add(batch["x"].shape[1])
            for row, target, label, mask in zip(batch["x"], batch["y"], batch["label"], batch["mask"]):
                own = examples[int(label)]["x"]
                seen.append(int(label))
                assert mask.sum() == len(own)
                np.testing.assert_array_equal(row[mask], own)
                assert (row[~mask] == 0).all()
                assert (target[~mask] == -100).all()
        assert sorted(seen) == list(range(50))
        assert len(shapes) <= 3
    assert len(loader) == len(list(loader.epoch(0)))
    assert labels(loader.epoch(1, 2)) == labels(loader.epoch(1))[2:]
    with pytest.raises(ValueError, match="which the longest example has"):
        gl.data.Buckets(examples, 8, lengths=[2])
    with pytest.raises(TypeError, match="examples are dicts"):
        gl.data.Buckets([np.zeros(3)], 8)


@pytest.mark.peers
def test_loaders_and_datasets_of_torch_give_batches_to_train_with():
    torch = pytest.importorskip("torch")
    from torch.utils import data

    x, y = torch.arange(20.0).reshape(10, 2), torch.arange(10)
    dataset = data.TensorDataset(x, y)
    step = gl.compile_step(
        gl.nn.Linear(2, 1),
        lambda model, batch: np.mean((model(batch[0])[:, 0] - batch[1].astype("float32")) ** 2),
        gl.optim.SGD(1e-3),
        (gl.spec((5, 2)), gl.spec((5,), "int64")),
    )
    for given in (data.DataLoader(dataset, 5), dataset, data.DataLoader(dataset, 5, shuffle=True, num_workers=0)):
        before = step.steps
        history = gl.fit(step, given, epochs=2, validate=given, progress=False)
        assert step.steps == before + 4
        assert np.isfinite(history["val_loss"]).all()
