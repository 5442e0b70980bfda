"""Sequences of several lengths in one batch: recurrent layers pass over the padding as torch's do."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.nn.utils import rnn

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

RNG = np.random.default_rng(0)
X, LENGTHS = RNG.standard_normal((5, 4, 3)), np.array([2, 5, 1, 3])
LAYERS = {
    "rnn": lambda n: n.RNN(3, 4, nonlinearity="relu"),
    "lstm": lambda n: n.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True, proj_size=2),
    "gru": lambda n: n.GRU(3, 4, bidirectional=True),
}


def _flat(result: Any) -> list[Any]:
    packed, states = result
    return [packed, *(states if isinstance(states, tuple) else (states,))]


@pytest.mark.peers
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_are_torchs(layer: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = LAYERS[layer](nn).to("float64"), LAYERS[layer](torch.nn).double()
    ours.load_state_dict(theirs.state_dict())
    values, names = ours.state_dict(), list(ours.state_dict())
    tensor = torch.tensor(X, requires_grad=True)
    packed = torch.nn.utils.rnn.pack_padded_sequence(tensor, torch.tensor(LENGTHS), enforce_sorted=False)
    output, states = _flat(theirs(packed))[0], _flat(theirs(packed))[1:]
    expected = [torch.nn.utils.rnn.pad_packed_sequence(output, padding_value=0.5)[0], *states]
    weights = [RNG.standard_normal(tuple(e.shape)) for e in expected]
    total = sum((e * torch.tensor(w)).sum() for e, w in zip(expected, weights))
    wanted = torch.autograd.grad(total, [tensor, *(dict(theirs.named_parameters())[n] for n in names)])

    def loss(x: Any, lengths: Any, *parameters: Any) -> Any:
        given = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        output, *states = _flat(nn.functional_call(ours, dict(zip(names, parameters)), given))
        padded, again = rnn.pad_packed_sequence(output, padding_value=0.5)
        assert again is given.lengths
        results = [padded, *states]
        return sum((r * w).sum() for r, w in zip(results, weights)), results

    places = (0, *range(2, 2 + len(names)))
    run = gl.value_and_grad(loss, places, has_aux=True)
    for lengths_are, call in (("traced", gl.compile(run)), ("known", run)):
        lengths = LENGTHS.tolist() if lengths_are == "known" else LENGTHS
        (_, results), gradients = call(X, lengths, *values.values())
        for mine, other in zip((*results, *gradients), (*expected, *wanted), strict=True):
            np.testing.assert_allclose(mine, other.detach().numpy(), atol=1e-10)


@pytest.mark.peers
def test_padding_is_torchs() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.utils.rnn
    sequences = [RNG.standard_normal((n, 2)) for n in (3, 1, 4)]
    tensors = [torch.tensor(s) for s in sequences]
    for batch_first in (True, False):
        for options in ({}, {"padding_value": -1.0}, {"padding_side": "left"}):
            expected = theirs.pad_sequence(tensors, batch_first, **options)
            np.testing.assert_array_equal(rnn.pad_sequence(sequences, batch_first, **options), expected)
        padded = rnn.pad_sequence(sequences, batch_first)
        for one, other in zip(rnn.unpad_sequence(padded, [3, 1, 4], batch_first), sequences, strict=True):
            np.testing.assert_array_equal(one, other)
        packed = theirs.pack_sequence(tensors, enforce_sorted=False)
        expected = theirs.pad_packed_sequence(packed, batch_first, 7.0, 6)
        mine = rnn.pad_packed_sequence(rnn.pack_sequence(sequences, False), batch_first, 7.0, 6)
        for one, other in zip(mine, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    for one, other in zip(rnn.unpack_sequence(rnn.pack_sequence(sequences)), sequences, strict=True):
        np.testing.assert_array_equal(one, other)
    known = rnn.pack_padded_sequence(X, [2, 1, 1, 3])
    assert rnn.pad_packed_sequence(known)[0].shape == (3, 4, 3)


def test_a_step_reads_lengths_of_the_batch() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            self.lstm = nn.LSTM(3, 4, batch_first=True)

        def forward(self, x: Any, lengths: Any) -> Any:
            packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return self.lstm(packed)[1][0][0]

    x = X.swapaxes(0, 1).astype("float32")
    step = gl.compile_step(
        Last(), lambda m, b: (m(b["x"], b["n"]) ** 2).mean(), gl.optim.SGD(0.0), {"x": x, "n": LENGTHS}, seed=1
    )
    loss = step({"x": x, "n": LENGTHS})
    assert step({"x": np.where(np.arange(5)[:, None] < LENGTHS[:, None, None], x, 100), "n": LENGTHS}) == loss
    assert step({"x": x, "n": LENGTHS[::-1].copy()}) != loss


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rnn.pack_padded_sequence(X, [1, 2]), gl.ShapeError, "one for each of 4 sequences, got"),
        (lambda: rnn.pack_padded_sequence(X, [0, 1, 2, 3]), ValueError, r"from 1 to 5, got \[0, 1, 2, 3\]"),
        (lambda: rnn.pack_padded_sequence(X[0, 0], [1]), gl.ShapeError, r"the input is \(L, N, ...\), got \(3,\)"),
        (lambda: rnn.pad_packed_sequence(X), TypeError, "takes what pack_padded_sequence gives, got ndarray"),  # pyright: ignore
        (
            lambda: rnn.pad_packed_sequence(rnn.pack_padded_sequence(X, LENGTHS), total_length=4),
            ValueError,
            "total_length is 5 or more, got 4",
        ),
        (lambda: rnn.pad_sequence([X, X[0]]), gl.ShapeError, r"differ in their first axis alone, got \(5, 4, 3\), \(4"),
        (lambda: rnn.pad_sequence([X], padding_side="top"), ValueError, "padding_side is 'left' or 'right'"),
        (lambda: rnn.pack_padded_sequence(X, LENGTHS).data, AttributeError, r"packed\._replace\(padded="),
        (
            lambda: gl.trace(lambda n: rnn.unpad_sequence(X, n), LENGTHS),
            gl.TracingError,
            "these lengths are computed; write pack_padded_sequence",
        ),
        (
            lambda: nn.functional_call(layer := nn.GRU(2, 4), layer.state_dict(), rnn.pack_padded_sequence(X, LENGTHS)),
            gl.ShapeError,
            r"packed sequences \(L, N, H\) with H = input_size = 2, got \(5, 4, 3\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
