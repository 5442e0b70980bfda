"""Recurrent networks against torch in float64: outputs, states, gradients, names, and every option."""

from __future__ import annotations

import itertools
from typing import Any

import gradloom as gl
import numpy as np
import pytest

RNG = np.random.default_rng(2)
KINDS = ("RNN", "LSTM", "GRU")
OPTIONS = [
    (kind, options)
    for kind in KINDS
    for options in (
        {},
        {"bias": False},
        {"batch_first": True},
        {"bidirectional": True},
        {"num_layers": 3},
        {"num_layers": 2, "bidirectional": True, "batch_first": True, "bias": False},
        *({"RNN": [{"nonlinearity": "relu"}], "LSTM": [{"proj_size": 2}], "GRU": []}[kind]),
        *([{"proj_size": 3, "num_layers": 2, "bidirectional": True}] if kind == "LSTM" else []),
    )
]


def models(kind: str, *args: Any, **options: Any) -> tuple[Any, Any, dict[str, np.ndarray]]:
    """Ours, torch's, and the parameters of both."""
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, kind)(*args, **options, dtype=torch.float64)
    parameters = {name: p.detach().numpy() for name, p in theirs.named_parameters()}
    return getattr(gl.nn, kind)(*args, **options, dtype="float64"), theirs, parameters


def flat(result: Any) -> list[Any]:
    """The arrays of (output, h) or (output, (h, c)), or of a cell's result."""
    if not isinstance(result, tuple):
        return [result]
    return [part for piece in result for part in (piece if isinstance(piece, tuple) else (piece,))]


def as_torch(value: Any) -> Any:
    import torch

    return tuple(map(as_torch, value)) if isinstance(value, tuple) else torch.tensor(value, requires_grad=True)


def assert_agree(ours: Any, theirs: Any, parameters: dict[str, np.ndarray], x: np.ndarray, state: Any) -> None:
    """Fail unless results and gradients (of parameters, input and state) agree, computed at once and compiled."""
    import torch

    theirs.zero_grad()
    x_t, state_t = as_torch(x), None if state is None else as_torch(state)
    outputs = flat(theirs(x_t, state_t))
    weights = [RNG.normal(size=tuple(o.shape)) for o in outputs]
    sum((o * torch.tensor(w)).sum() for o, w in zip(outputs, weights)).backward()
    expected = [*outputs, x_t, *(p for p in theirs.parameters()), *flat(state_t if state is not None else ())]
    expected = [o.detach().numpy() if i < len(outputs) else o.grad.numpy() for i, o in enumerate(expected)]

    def loss(parameters: Any, x: Any, state: Any) -> Any:
        results = flat(gl.nn.functional_call(ours, parameters, x, state))
        return sum(np.sum(o * w) for o, w in zip(results, weights)), results

    both = gl.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    for run in (both, gl.compile(both)):
        (_, results), (of_parameters, of_x, of_state) = run(parameters, x, state)
        actual = [
            *results,
            of_x,
            *(of_parameters[name] for name in parameters),
            *flat(() if state is None else of_state),
        ]
        for one, other in zip(actual, expected, strict=True):
            assert one.shape == other.shape
            assert np.abs(one - other).max() <= 1e-9 * max(np.abs(other).max(), 1e-300)


@pytest.mark.peers
@pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=str)
def test_sequences_agree_with_torch(kind, options):
    ours, theirs, parameters = models(kind, 4, 5, **options)
    assert [(name, p.shape) for name, p in ours.stored_parameters()] == [(n, p.shape) for n, p in parameters.items()]
    shape = (3, 6, 4) if options.get("batch_first") else (6, 3, 4)
    count = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    h, c = RNG.normal(size=(count, 3, options.get("proj_size", 5))), RNG.normal(size=(count, 3, 5))
    assert_agree(ours, theirs, parameters, RNG.normal(size=shape), (h, c) if kind == "LSTM" else h)


@pytest.mark.peers
@pytest.mark.parametrize(("kind", "given"), list(itertools.product(KINDS, [False, True])))
def test_a_sequence_without_a_batch_and_states_that_are_not_given_agree_with_torch(kind, given):
    ours, theirs, parameters = models(kind, 4, 5, num_layers=2, bidirectional=True)
    h, c = RNG.normal(size=(4, 5)), RNG.normal(size=(4, 5))
    state = ((h, c) if kind == "LSTM" else h) if given else None
    assert_agree(ours, theirs, parameters, RNG.normal(size=(6, 4)), state)
    assert_agree(ours, theirs, parameters, RNG.normal(size=(1, 1, 4)), None)


@pytest.mark.peers
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("bias", [True, False])
def test_cells_agree_with_torch(kind, batch, bias):
    ours, theirs, parameters = models(f"{kind}Cell", 4, 5, bias=bias)
    assert [(name, p.shape) for name, p in ours.stored_parameters()] == [(n, p.shape) for n, p in parameters.items()]
    h, c = RNG.normal(size=(*batch, 5)), RNG.normal(size=(*batch, 5))
    for state in (None, (h, c) if kind == "LSTM" else h):
        assert_agree(ours, theirs, parameters, RNG.normal(size=(*batch, 4)), state)


@pytest.mark.parametrize("kind", [*KINDS, "RNNCell", "LSTMCell", "GRUCell"])
def test_parameters_begin_uniform_by_the_size_of_the_state(kind):
    model = getattr(gl.nn, kind)(3, 100)
    values = np.concatenate([p.ravel() for p in gl.nn.init_parameters(model).values()])
    assert 0.099 < np.abs(values).max() <= 0.1
    assert abs(values.mean()) < 0.002


def test_dropout_between_layers_is_for_training_and_spares_the_last():
    model = gl.nn.LSTM(4, 50, num_layers=2, dropout=0.5)
    parameters = gl.nn.init_parameters(model)
    x = RNG.normal(size=(6, 3, 4)).astype("float32")

    def run(training: bool, seed: int = 0) -> np.ndarray:
        with gl.random.key(seed):
            return gl.nn.functional_call(model, parameters, x, training=training)[0]

    plain = gl.nn.functional_call(gl.nn.LSTM(4, 50, num_layers=2), parameters, x)[0]
    np.testing.assert_array_equal(run(False), plain)
    np.testing.assert_array_equal(run(True), run(True))
    assert np.abs(run(True) - plain).max() > 0.001
    assert np.abs(run(True) - run(True, 1)).max() > 0.001
    assert (run(True) != 0).all()


def test_a_classifier_of_sequences_learns_in_a_compiled_step():
    class Classifier(gl.nn.Module):
        def __init__(self) -> None:
            self.lstm = gl.nn.LSTM(1, 16, batch_first=True)
            self.head = gl.nn.Linear(16, 2)

        def forward(self, x: Any) -> Any:
            _, (h, _) = self.lstm(x)
            return self.head(h[-1])

    x = RNG.normal(size=(64, 8, 1)).astype("float32")
    batch = {"x": x, "y": (x[:, 0, 0] > 0).astype("int64")}
    step = gl.compile_step(
        Classifier(), lambda m, b: gl.nn.cross_entropy(m(b["x"]), b["y"]), gl.optim.AdamW(2e-2), batch
    )
    losses = [float(step(batch)) for _ in range(150)]
    assert losses[0] > 0.5
    assert losses[-1] < 0.1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: gl.nn.LSTM(4, 0),
            ValueError,
            "sizes and the number of layers are 1 or more, got input_size 4, hidden",
        ),
        (lambda: gl.nn.LSTM(4, 5, proj_size=5), ValueError, "proj_size is from 0 to hidden_size - 1 = 4, got 5"),
        (lambda: gl.nn.GRU(4, 5, dropout=2), ValueError, "the probability of dropout is from 0 to 1, got 2"),
        (lambda: gl.nn.RNN(4, 5, nonlinearity="gelu"), ValueError, "nonlinearity is 'tanh' or 'relu', got 'gelu'"),
        (lambda: gl.nn.GRUCell(0, 5), ValueError, "sizes are 1 or more, got input_size 0, hidden_size 5"),
    ],
)
def test_arguments_that_make_no_network_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("model", "x", "state", "error", "message"),
    [
        (gl.nn.LSTM(4, 5), (6, 3, 5), None, gl.ShapeError, r"expected \(L, N, H\) or \(L, H\) with H = input_size = 4"),
        (
            gl.nn.GRU(4, 5, batch_first=True),
            (4,),
            None,
            gl.ShapeError,
            r"expected \(N, L, H\) or .*, got \(4,\) float32",
        ),
        (gl.nn.GRU(4, 5), (6, 3, 4), (1, 2, 5), gl.ShapeError, r"hx is \(1, 2, 5\) float32, expected \(1, 3, 5\)"),
        (gl.nn.LSTM(4, 5), (6, 3, 4), (1, 3, 5), TypeError, r"hx is a pair \(h_0, c_0\), got ndarray"),
        (gl.nn.LSTMCell(4, 5), (3, 4), (3, 5), TypeError, r"hx is a pair \(h, c\), got ndarray"),
        (gl.nn.RNNCell(4, 5), (3, 5), None, gl.ShapeError, r"\(input_size,\) with input_size = 4, got \(3, 5\)"),
        (gl.nn.RNNCell(4, 5), (3, 4), (2, 5), gl.ShapeError, r"hx is \(2, 5\) float32, expected \(3, 5\)"),
    ],
)
def test_inputs_and_states_of_other_shapes_are_refused(model, x, state, error, message):
    arguments = [np.zeros(shape, "float32") for shape in (x, state) if shape is not None]
    with pytest.raises(error, match=message):
        gl.nn.functional_call(model, gl.nn.init_parameters(model), *arguments)


def test_a_network_prints_its_options():
    assert repr(gl.nn.LSTM(4, 5, 2, bidirectional=True)) == "LSTM(4, 5, num_layers=2, bidirectional=True)"
    assert repr(gl.nn.GRU(4, 5, dropout=0.1, batch_first=True)) == "GRU(4, 5, batch_first=True, dropout=0.1)"
    assert repr(gl.nn.LSTMCell(4, 5, bias=False)) == "LSTMCell(4, 5, bias=False)"
