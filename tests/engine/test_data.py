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
