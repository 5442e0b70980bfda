"""Connectionist temporal classification: the sum over all alignments, as torch's, by lengths known or computed."""

from __future__ import annotations

import itertools
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from torch_rows import Row, assert_row_is_torchs

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

F = nn.functional
RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 3, 5)) * 2
LOGS = F.log_softmax(X)
LABELS = np.array([[1, 2, 3, 3], [3, 3, 2, 1], [2, 0, 9, -1]])
ALL = np.array([1, 2, 3, 3, 3])
CASES: list[tuple[Any, ...]] = [
    (LABELS, np.array([6, 5, 4]), np.array([3, 4, 1])),
    (LABELS, (6, 6, 6), (4, 2, 0)),
    (ALL, (6, 4, 5), (3, 2, 0)),
    (LABELS.astype(np.int32), np.array([6, 5, 2], np.int32), np.array([1, 1, 0], np.int32)),
    (LABELS, (6, 3, 0), (3, 4, 1)),
    (LABELS, (1, 0, 4), (1, 0, 1)),
]


@pytest.mark.peers
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_loss_is_torchs(dtype: str) -> None:
    for reduction in ("mean", "sum", "none"):
        for case in CASES:
            for blank in (0, 4):
                options = {"blank": blank, "reduction": reduction, "zero_infinity": True}
                assert_row_is_torchs(Row("ctc_loss", (LOGS,), "CTCLoss", options, case, second=False), dtype)
        single = (LABELS[0, :3], np.array(6), np.array(3))
        options = {"reduction": reduction}
        assert_row_is_torchs(Row("ctc_loss", (LOGS[:, 0],), "CTCLoss", options, single, second=False), dtype)
        assert_row_is_torchs(Row("ctc_loss", (LOGS,), "CTCLoss", options, CASES[0], second=False), dtype)


def _by_enumeration(logs: Any, labels: list[int], blank: int) -> float:
    """-log of the sum over all paths whose labels, without repetitions and then without blanks, are `labels`."""
    total = 0.0
    for path in itertools.product(range(logs.shape[1]), repeat=logs.shape[0]):
        if [c for c, _ in itertools.groupby(path) if c != blank] == labels:
            total += np.exp(sum(logs[t, c] for t, c in enumerate(path)))
    return -np.log(total) if total else np.inf


def test_the_loss_is_the_sum_over_all_alignments() -> None:
    logs = LOGS[:4, :, :4] - np.log(np.exp(LOGS[:4, :, :4]).sum(-1, keepdims=True))
    for labels, blank in ([[1], [1, 1], [2, 1, 2]], 0), ([[0, 0], [], [2, 1, 0]], 3), ([[1, 1, 1], [2, 2], [3]], 0):
        padded = np.array([[*row, *[0] * (3 - len(row))] for row in labels])
        loss = F.ctc_loss(logs, padded, (4, 4, 4), [len(row) for row in labels], blank, "none")
        expected = [_by_enumeration(logs[:, n], row, blank) for n, row in enumerate(labels)]
        np.testing.assert_allclose(loss, expected, rtol=1e-12)


def test_lengths_and_labels_that_are_computed_give_what_known_ones_give() -> None:
    for targets, inputs, lengths in [*CASES[:3], CASES[4]]:

        def loss(x: Any, targets: Any, inputs: Any, lengths: Any) -> Any:
            return gl.value_and_grad(
                lambda x: F.ctc_loss(F.log_softmax(x), targets, inputs, lengths, zero_infinity=True)
            )(x)

        arrays = X.astype("float32"), targets, np.array(inputs), np.array(lengths)
        (value, gradient), (other, expected) = gl.compile(loss)(*arrays), loss(*arrays)
        np.testing.assert_allclose(value, other, rtol=1e-5)
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_the_gradient_by_logits_is_the_finite_difference() -> None:
    direction = RNG.standard_normal(X.shape) * 1e-6

    def loss(x: Any) -> Any:
        return F.ctc_loss(F.log_softmax(x), *CASES[0])

    along = (gl.grad(loss)(X) * direction).sum()
    np.testing.assert_allclose(along, (loss(X + direction) - loss(X - direction)) / 2, rtol=1e-6)
    second = gl.grad(lambda x: (gl.grad(loss)(x) * direction).sum())(X)
    ahead, behind = gl.grad(loss)(X + direction), gl.grad(loss)(X - direction)
    np.testing.assert_allclose(second, (ahead - behind) / 2, rtol=1e-4, atol=1e-12)


def test_labels_without_an_alignment_cost_infinity_or_nothing_and_have_no_gradient() -> None:
    case = LABELS, (6, 4, 3), (4, 4, 1)  # the second row repeats a label, which takes a fifth time

    def loss(x: Any, zero_infinity: bool) -> Any:
        return F.ctc_loss(F.log_softmax(x), *case, reduction="none", zero_infinity=zero_infinity)

    np.testing.assert_array_equal(np.isinf(loss(X, False)), [False, True, False])
    np.testing.assert_array_equal(loss(X, True)[1], 0)
    for zero_infinity in (False, True):
        gradient = gl.grad(lambda x, zero=zero_infinity: loss(x, zero).sum())(X)
        assert np.isfinite(gradient).all()
        assert not gradient[:, 1].any()
        assert gradient[:, 0].any()
    assert np.isfinite(F.ctc_loss(np.full((4, 3, 5), 1000.0), *case[:1], (4, 4, 4), (1, 1, 1)))
    certain = np.full((2, 1, 3), -np.inf)
    certain[0, 0, 1] = certain[1, 0, 0] = 0.0
    value, gradient = gl.value_and_grad(lambda x: F.ctc_loss(x, np.array([[1]]), (2,), (1,)))(certain)
    assert value == 0
    assert np.isfinite(gradient).all()


def test_a_step_learns_where_labels_are() -> None:
    batch = {"x": X.astype("float32"), "y": LABELS[:, :2], "inputs": np.array([6, 5, 4]), "labels": np.array([2, 2, 1])}
    criterion = nn.CTCLoss(blank=4, zero_infinity=True)

    def loss_fn(model: Any, batch: Any) -> Any:
        return criterion(nn.log_softmax(model(batch["x"])), batch["y"], batch["inputs"], batch["labels"])

    step = gl.compile_step(nn.Linear(5, 5), loss_fn, gl.optim.SGD(0.1), batch)
    first = step(batch)
    assert step(batch) < first
    with pytest.raises(IndexError, match="an index is out of range for 7 entries"):
        step({**batch, "inputs": np.array([6, 7, 4])})
    with pytest.raises(IndexError, match="an index is out of range for 5 entries"):
        step({**batch, "y": np.array([[1, 2], [3, -1], [2, 0]])})
    assert repr(criterion) == "CTCLoss(blank=4, zero_infinity=True, reduction='mean')"


def test_arguments_that_do_not_fit_are_named() -> None:
    six, four = (6, 6, 6), (4, 4, 1)
    for call, message in [
        (lambda: F.ctc_loss(X[0, 0], LABELS, six, four), r"log_probs is \(T, N, C\), or \(T, C\), got \(5,\) float64"),
        (lambda: F.ctc_loss(X.astype(int), LABELS, six, four), "log_probs holds floats"),
        (lambda: F.ctc_loss(X, LABELS.astype(float), six, four), "targets are integers, got .*astype"),
        (lambda: F.ctc_loss(X, LABELS[None], six, four), r"targets are \(N, S\), or all labels as \(S,\)"),
        (lambda: F.ctc_loss(X, LABELS[:2], six, four), r"targets of 3 sequences are \(3, S\), got \(2, 4\)"),
        (lambda: F.ctc_loss(X, LABELS, (6, 6), four), "input_lengths has one number for each of 3 sequences"),
        (lambda: F.ctc_loss(X, LABELS, six, 4), r"target_lengths has one number for each of 3 sequences, got \(\)"),
        (lambda: F.ctc_loss(X, LABELS, np.ones(3), four), "input_lengths are integers, got"),
        (lambda: F.ctc_loss(X, LABELS, (6, 7, 6), four), r"input_lengths are from 0 to 6, got \[6, 7, 6\]"),
        (lambda: F.ctc_loss(X, LABELS, six, (4, 4, -1)), r"target_lengths are from 0 to 4, got \[4, 4, -1\]"),
        (lambda: F.ctc_loss(X, ALL, six, (3, 2, 1)), "target_lengths add up to 6, and targets has 5 labels"),
        (lambda: F.ctc_loss(X, LABELS, six, four, blank=5), "blank is one of 5 classes, got 5"),
        (lambda: F.ctc_loss(X, LABELS, six, four, reduction="max"), "reduction is 'mean', 'sum' or 'none', got 'max'"),
        (lambda: nn.CTCLoss(reduction="max"), "reduction is 'mean', 'sum' or 'none', got 'max'"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message + r".*, at \S*test_ctc\.py:\d+"):
            call()
    with pytest.raises(IndexError, match="index 9 is out of range for 5"):
        F.ctc_loss(X, LABELS, six, (4, 4, 3))
