"""Losses: every argument against torch, and what they refuse."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from torch_rows import Row, assert_row_is_torchs

pytestmark = [
    pytest.mark.usefixtures("one_thread_for_torch"),
    pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning"),
]

F = nn.functional
RNG = np.random.default_rng(0)
REDUCTIONS = ("mean", "sum", "none")
SHAPES: tuple[tuple[int, ...], ...] = ((), (5,), (1, 3), (2, 3, 4))


def _normal(*shape: int) -> Any:
    return RNG.standard_normal(shape) * 2


def _uniform(*shape: int) -> Any:
    return RNG.random(shape) * 0.98 + 0.01


def _signs(*shape: int) -> Any:
    return RNG.choice([-1.0, 1.0], shape)


def _labels(high: int, *shape: int) -> Any:
    return RNG.integers(0, high, shape)


WEIGHT = np.array([0.5, 1.0, 2.0, 0.1])


def _rows(name: str, layer: str, inputs: Any, *several: dict[str, Any], fixed: Any = (), **said: Any) -> list[Row]:
    """Each set of options by each reduction."""
    options = [{**o, "reduction": r} for o in several or ({},) for r in REDUCTIONS]
    return [Row(name, tuple(inputs), layer, o, tuple(fixed), **said) for o in options]


ROWS = [
    *(r for s in SHAPES for r in _rows("mse_loss", "MSELoss", (_normal(*s), _normal(*s)))),
    *_rows("mse_loss", "", (_normal(2, 3), _normal(2, 3)), {"weight": _uniform(2, 3)}),
    *(r for s in SHAPES for r in _rows("l1_loss", "L1Loss", (_normal(*s), _normal(*s)))),
    *_rows("l1_loss", "", (_normal(2, 3), _normal(2, 3)), {"weight": _uniform(2, 3)}),
    *_rows("smooth_l1_loss", "SmoothL1Loss", (_normal(2, 3), _normal(2, 3)), {}, {"beta": 0.3}, {"beta": 0.0}),
    *_rows("huber_loss", "HuberLoss", (_normal(2, 3), _normal(2, 3)), {}, {"delta": 0.3}),
    *_rows("huber_loss", "", (_normal(2, 3), _normal(2, 3)), {"delta": 0.3, "weight": _uniform(2, 3)}),
    *_rows(
        "poisson_nll_loss",
        "PoissonNLLLoss",
        (_uniform(4, 3), _uniform(4, 3) * 5),
        {},
        {"full": True},
        {"log_input": False, "eps": 0.1},
        {"log_input": False, "full": True},
    ),
    *(
        row
        for var in (_uniform(2, 3), _uniform(2), _uniform(2, 1), np.full((2, 3), 0.25))
        for row in _rows(
            "gaussian_nll_loss",
            "GaussianNLLLoss",
            (_normal(2, 3), _normal(2, 3), var),
            {},
            {"full": True, "eps": 0.5},
        )
    ),
    *_rows("gaussian_nll_loss", "GaussianNLLLoss", (_normal(2, 3), _normal(2, 3)), fixed=(0.7,)),
    *_rows("gaussian_nll_loss", "GaussianNLLLoss", (_normal(4), _normal(4), _uniform(4))),
    *(r for s in SHAPES for r in _rows("binary_cross_entropy", "BCELoss", (_uniform(*s), _uniform(*s)))),
    *_rows("binary_cross_entropy", "BCELoss", (_uniform(4, 3), _uniform(4, 3)), {"weight": _uniform(3)}),
    *_rows(
        "binary_cross_entropy",
        "",
        (np.array([0.0, 1.0, 0.0, 1.0, 1e-13]),),
        fixed=(np.array([0, 1, 1, 0, 0.5]),),
        second=False,
        double=False,
    ),
    *_rows(
        "binary_cross_entropy_with_logits",
        "BCEWithLogitsLoss",
        (_normal(4, 3), _uniform(4, 3)),
        {},
        {"weight": _uniform(4, 1)},
        {"pos_weight": _uniform(3) * 3},
        {"weight": _uniform(4, 3), "pos_weight": _uniform(3)},
    ),
    *_rows("kl_div", "KLDivLoss", (_normal(4, 3), _uniform(4, 3)), {}, {"log_target": False}),
    *_rows("kl_div", "KLDivLoss", (_normal(4, 3), _normal(4, 3)), {"log_target": True}),
    *(
        Row("kl_div", (_normal(*s), _uniform(*s)), "KLDivLoss", {"reduction": "batchmean", "log_target": o})
        for s in SHAPES
        for o in (False, True)
    ),
    *_rows("soft_margin_loss", "SoftMarginLoss", (_normal(4, 3),), fixed=(_signs(4, 3),)),
    *(
        row
        for s in ((3,), (2, 3), (2, 1, 3))
        for row in _rows(
            "multilabel_soft_margin_loss",
            "MultiLabelSoftMarginLoss",
            (_normal(*s), _uniform(*s)),
            {},
            {"weight": _uniform(3)},
        )
    ),
    *(
        row
        for s in SHAPES
        for row in _rows(
            "margin_ranking_loss",
            "MarginRankingLoss",
            (_normal(*s), _normal(*s)),
            {},
            {"margin": 0.7},
            fixed=(_signs(*s),),
        )
    ),
    *(
        row
        for s in SHAPES
        for row in _rows(
            "hinge_embedding_loss", "HingeEmbeddingLoss", (_normal(*s),), {}, {"margin": 2.5}, fixed=(_signs(*s),)
        )
    ),
    *_rows(
        "cosine_embedding_loss",
        "CosineEmbeddingLoss",
        (_normal(5, 4), _normal(5, 4)),
        {},
        {"margin": 0.2},
        fixed=(_signs(5),),
    ),
    *_rows("cosine_embedding_loss", "CosineEmbeddingLoss", (_normal(4), _normal(4)), fixed=(np.array(-1.0),)),
    *(
        row
        for s in ((5, 4), (4,), (2, 3, 4))
        for row in _rows(
            "triplet_margin_loss",
            "TripletMarginLoss",
            (_normal(*s), _normal(*s), _normal(*s)),
            {},
            {"margin": 3.0, "p": 1.0, "eps": 1e-3},
            {"swap": True, "p": 3.0},
        )
    ),
    *_rows(
        "triplet_margin_with_distance_loss",
        "TripletMarginWithDistanceLoss",
        (_normal(5, 4), _normal(5, 4), _normal(5, 4)),
        {},
        {"distance_function": lambda x, y: ((x - y) ** 2).sum(-1), "swap": True, "margin": 0.5},
    ),
    *(
        row
        for s in ((4,), (6, 4))
        for row in _rows(
            "multi_margin_loss",
            "MultiMarginLoss",
            (_normal(*s),),
            {},
            {"p": 2, "margin": 0.5},
            {"weight": WEIGHT, "p": 2},
            fixed=(np.asarray(_labels(4, *s[:-1])),),
            second=False,
        )
    ),
    *_rows(
        "multilabel_margin_loss",
        "MultiLabelMarginLoss",
        (_normal(3, 4),),
        fixed=(np.array([[3, 0, -1, 1], [-1, 0, 1, 2], [2, 1, 0, 3]]),),
        second=False,
    ),
    *_rows(
        "multilabel_margin_loss", "MultiLabelMarginLoss", (_normal(4),), fixed=(np.array([1, 1, -1, 3]),), second=False
    ),
    *(
        row
        for s in ((4,), (6, 4), (3, 4, 5), (2, 4, 3, 2))
        for name, layer in (("cross_entropy", "CrossEntropyLoss"), ("nll_loss", "NLLLoss"))
        for row in _rows(
            name,
            layer,
            (_normal(*s),),
            {},
            {"ignore_index": 2},
            {"weight": WEIGHT, "ignore_index": 1},
            *([{"label_smoothing": 0.2, "weight": WEIGHT, "ignore_index": 0}] if name == "cross_entropy" else []),
            fixed=(
                np.array(3)
                if len(s) == 1
                else _labels(4, s[0], *s[2:]) | np.eye(s[0], dtype=int)[0].reshape(s[0], *(1,) * (len(s) - 2)),
            ),
            second=name != "nll_loss",
        )
    ),
    *(
        row
        for s in ((4,), (6, 4), (3, 4, 5))
        for row in _rows(
            "cross_entropy",
            "CrossEntropyLoss",
            (_normal(*s), _uniform(*s)),
            {},
            {"weight": WEIGHT, "label_smoothing": 0.2},
        )
    ),
    *(
        Row(name, (_normal(*a), _normal(*b)), layer, o)
        for a, b in (((5, 4), (5, 4)), ((3, 4), (1, 4)), ((2, 3, 4), (3, 4)))
        for name, layer, several in (
            ("cosine_similarity", "CosineSimilarity", ({}, {"dim": -1, "eps": 5.0}, {"dim": 0})),
            (
                "pairwise_distance",
                "PairwiseDistance",
                ({}, {"p": 1.0}, {"p": 3.0, "eps": 0.1, "keepdim": True}, {"p": np.inf}),
            ),
        )
        for o in several
    ),
    Row("cosine_similarity", (_normal(4), _normal(4)), "", {"dim": 0}),
    Row("cosine_similarity", (np.zeros((2, 3)), _normal(2, 3)), second=False, double=False),
    Row("pairwise_distance", (_normal(4), _normal(4)), "PairwiseDistance"),
    *(Row("pdist", (_normal(5, 3),), "", {"p": p}, second=False) for p in (2.0, 1.0, 0.0, 3.0, np.inf)),
]


AT_KINKS = [
    *_rows("hinge_embedding_loss", "", (np.array([1.0, 0.0, -1.0, 2.0]),), fixed=(np.array([-1, 1, 0, -1]),)),
    *_rows(
        "margin_ranking_loss",
        "",
        (np.array([1.0, 0.0]), np.array([0.0, 1.0])),
        {"margin": 1.0},
        fixed=(np.array([1.0, -1.0]),),
    ),
    *_rows("multi_margin_loss", "", (np.array([0.0, 1.0, 2.0]),), fixed=(np.array(1),), second=False),
    *_rows("multilabel_margin_loss", "", (np.array([0.0, 1.0, 2.0]),), fixed=(np.array([1, -1, -1]),), second=False),
    *_rows("smooth_l1_loss", "", (np.array([0.0, 1.0, -1.0]), np.zeros(3))),
    *_rows("huber_loss", "", (np.array([0.0, 2.0, -2.0]), np.zeros(3)), {"delta": 2.0}),
    *_rows("poisson_nll_loss", "", (np.array([1.0, 2.0]),), {"full": True}, fixed=(np.array([1.0, 0.0]),)),
    Row("triplet_margin_loss", (np.zeros((2, 3)), np.ones((2, 3)), np.ones((2, 3))), options={"swap": True}),
    Row("pairwise_distance", (np.ones((2, 3)), np.ones((2, 3))), options={"eps": 0.0}, second=False),
]


@pytest.mark.peers
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_losses_are_torchs(dtype: str) -> None:
    failures: list[str] = []
    for row in ROWS + AT_KINKS:
        try:
            assert_row_is_torchs(row, dtype)
        except Exception as error:
            failures.append(f"{row}: {type(error).__name__} {str(error)[:600]}")
    assert not failures, f"{len(failures)} of {len(ROWS + AT_KINKS)}\n" + "\n".join(failures[:12])


SMOOTH = [row for row in ROWS if row.options.get("reduction", "mean") == "mean" and row.double]


def _value(row: Row, *inputs: Any) -> Any:
    return getattr(F, row.name)(*inputs, *row.fixed, **row.options).sum()


def test_gradients_of_losses_are_their_finite_differences() -> None:
    for row in SMOOTH:
        if row.name in ("gaussian_nll_loss", "cosine_similarity") and "eps" in row.options:
            continue  # the derivative is that of what is below eps, as in torch
        rng = np.random.default_rng(2)
        directions = [rng.standard_normal(x.shape) * 1e-6 for x in row.inputs]
        ahead = _value(row, *(x + d for x, d in zip(row.inputs, directions)))
        behind = _value(row, *(x - d for x, d in zip(row.inputs, directions)))
        gradients = gl.grad(lambda *xs, row=row: _value(row, *xs), argnums=tuple(range(len(directions))))(*row.inputs)
        along = sum((g * d).sum() for g, d in zip(gradients, directions))
        np.testing.assert_allclose(along, (ahead - behind) / 2, rtol=1e-5, atol=1e-14, err_msg=str(row))


def test_compiled_losses_are_the_interpreted_ones() -> None:
    rows = SMOOTH[::7]
    arrays = [[x.astype("float32") for x in row.inputs] for row in rows]

    def both(arrays: Any) -> Any:
        return gl.value_and_grad(lambda arrays: sum(_value(row, *xs) for row, xs in zip(rows, arrays)))(arrays)

    (value, gradients), (other, others) = gl.compile(both)(arrays), both(arrays)
    np.testing.assert_allclose(value, other, rtol=1e-5)
    for mine, theirs in zip(gradients, others, strict=True):
        for one, two in zip(mine, theirs, strict=True):
            assert one.dtype == np.float32
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_weights_are_buffers_of_a_model_and_constants_outside_of_one() -> None:
    logits, labels = _normal(6, 4).astype("float32"), _labels(4, 6)
    criterion = nn.CrossEntropyLoss(WEIGHT)
    expected = F.cross_entropy(logits, labels, WEIGHT)
    assert expected.dtype == criterion(logits, labels).dtype == np.float32
    np.testing.assert_array_equal(criterion(logits, labels), expected)
    assert [name for name, _ in criterion.named_buffers()] == ["weight"]
    assert not list(nn.CrossEntropyLoss().named_buffers())
    np.testing.assert_array_equal(
        nn.functional_call(criterion, {"weight": np.ones(4)}, logits, labels), F.cross_entropy(logits, labels)
    )
    assert nn.BCEWithLogitsLoss(pos_weight=[1, 2, 3, 4]).pos_weight.dtype == np.float32
    traced = gl.grad(lambda w: nn.CrossEntropyLoss(w, reduction="sum")(logits, labels))(WEIGHT)
    np.testing.assert_allclose(
        (traced * WEIGHT).sum(), F.cross_entropy(logits, labels, WEIGHT, reduction="sum"), rtol=1e-6
    )


@pytest.mark.parametrize("inside", [True, False])
def test_a_step_trains_by_a_loss_that_is_a_layer(inside: bool) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            self.linear = nn.Linear(3, 4)
            self.criterion = nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.1) if inside else None

    criterion = nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.1)
    batch = {"x": _normal(8, 3).astype("float32"), "y": _labels(4, 8)}

    def loss_fn(model: Any, batch: Any) -> Any:
        return (model.criterion if inside else criterion)(model.linear(batch["x"]), batch["y"])

    step = gl.compile_step(Model(), loss_fn, gl.optim.SGD(0.1), batch)
    first = step(batch)
    values = {"weight": step.parameters()["linear.weight"]}
    assert step(batch) < first
    assert values["weight"].shape == (4, 3)


def test_reduction_comes_by_position_in_torchs_order_and_without_what_torch_deprecates() -> None:
    x, y, labels = _normal(4, 3), _normal(4, 3), _labels(3, 4)
    expected = F.smooth_l1_loss(x, y, reduction="sum", beta=0.5)
    for value in (F.smooth_l1_loss(x, y, None, None, "sum", 0.5), F.smooth_l1_loss(x, y, "sum", 0.5)):
        assert value == expected
    assert nn.SmoothL1Loss("sum", 0.5)(x, y) == nn.SmoothL1Loss(None, None, "sum", 0.5)(x, y) == expected
    assert F.nll_loss(x, labels, None, 1, "sum") == F.nll_loss(x, labels, None, None, 1, None, "sum")
    for make in (
        lambda: F.cross_entropy(x, labels, None, 2),
        lambda: F.mse_loss(x, y, size_average=False),
        lambda: nn.MSELoss(False),
        lambda: nn.L1Loss(reduce=False),
        lambda: nn.TripletMarginLoss(1.0, 2, 1e-6, False, True),
    ):
        with pytest.raises(
            NotImplementedError, match=r"does not take torch's (size_average|reduce)=.*; write reduction="
        ):
            make()


def test_targets_never_broadcast() -> None:
    column, row = np.zeros((4, 1)), np.zeros(4)
    for call in (
        F.mse_loss,
        F.l1_loss,
        F.smooth_l1_loss,
        F.huber_loss,
        F.poisson_nll_loss,
        F.binary_cross_entropy,
        F.binary_cross_entropy_with_logits,
        F.kl_div,
        F.soft_margin_loss,
        F.multilabel_soft_margin_loss,
        F.hinge_embedding_loss,
        lambda x, y: F.gaussian_nll_loss(x, y, 1.0),
    ):
        with pytest.raises(
            ValueError, match=r"input is \(4, 1\) float64 and target \(4,\) float64; reshape one .*, at \S*test_losses"
        ):
            call(column, row)
    with pytest.raises(ValueError, match=r"input1, input2 and target have one shape, got \(4, 1\) float64, \(4,\)"):
        F.margin_ranking_loss(column, row, row)
    with pytest.raises(ValueError, match=r"labels are integers of the input's shape \(4,\), got \(4, 1\) int64"):
        F.multilabel_margin_loss(row, column.astype(int))


def test_arguments_that_do_not_fit_are_named() -> None:
    x = np.ones((4, 3))
    for call, message in [
        (
            lambda: F.mse_loss(x, x, weight=np.ones(3)),
            r"mse_loss: weight has the shape of the input, \(4, 3\), got \(3,\)",
        ),
        (
            lambda: F.binary_cross_entropy(x, x, np.ones(4)),
            r"weight broadcasts to \(4, 3\) float64, got \(4,\) float64",
        ),
        (lambda: F.binary_cross_entropy_with_logits(x, x, pos_weight=np.ones((2, 4, 3))), "pos_weight broadcasts to"),
        (lambda: F.gaussian_nll_loss(x, x, -1.0), "var is 0 or more, got -1.0"),
        (lambda: F.gaussian_nll_loss(x, x, np.ones(3)), r"that without the last axis, .*, got \(3,\) float64"),
        (lambda: F.triplet_margin_loss(x, x, x, margin=0), "margin is above 0, got 0"),
        (lambda: nn.TripletMarginLoss(-1), "margin is above 0, got -1"),
        (lambda: F.triplet_margin_loss(x, x, x[0]), r"have as many axes, got \(4, 3\) float64"),
        (lambda: F.multi_margin_loss(x, np.zeros(4, int), p=3), "p is 1 or 2, got 3"),
        (lambda: F.multi_margin_loss(x[None], np.zeros(4, int)), r"input is \(C,\) or \(N, C\) floats"),
        (lambda: F.cosine_embedding_loss(x, x, np.ones((4, 1))), r"\(N, D\) with a target \(N,\)"),
        (lambda: F.cosine_similarity(x, np.ones((4, 2))), r"\(4, 3\) float64 and \(4, 2\) float64 do not broadcast"),
        (lambda: F.pdist(x[0]), r"pdist: the input is \(N, M\), got \(3,\)"),
        (lambda: F.pdist(x, -1), "p is 0 or more, got -1"),
        (lambda: F.kl_div(x, x, reduction="batchsum"), "reduction is 'mean', 'sum' or 'none', got 'batchsum'"),
        (lambda: nn.MSELoss(reduction="batchmean"), "reduction is 'mean', 'sum' or 'none', got 'batchmean'"),
        (lambda: nn.HuberLoss(delta=0), "delta is above 0, got 0"),
        (lambda: nn.SmoothL1Loss(beta=-1), "beta is 0 or more, got -1"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=2), "label_smoothing is from 0 to 1, got 2"),
        (lambda: F.soft_margin_loss(x.astype(int), x), "input holds floats, got"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message + r".*, at \S*test_losses\.py:\d+"):
            call()


def test_labels_that_are_no_class_are_index_errors() -> None:
    x = np.zeros((2, 3))
    for bad in (-2, 3):
        for call in (F.cross_entropy, F.nll_loss, F.multi_margin_loss):
            with pytest.raises(IndexError, match=f"index {bad} is out of range for 3"):
                call(x, np.array([0, bad]))
        with pytest.raises(IndexError, match=f"index {bad} is out of range for 3"):
            F.multilabel_margin_loss(x, np.array([[0, -1, -1], [-1, bad, 0]]))
    with pytest.raises(IndexError, match="index -1 is out of range for 3"):
        F.multi_margin_loss(x, np.array([0, -1]))


def test_what_is_certain_costs_nothing_and_what_is_far_is_finite() -> None:
    far = np.array([1e4, -1e4, np.inf])
    assert np.isfinite(F.soft_margin_loss(far[:2], np.array([-1, 1])))
    np.testing.assert_array_equal(
        gl.grad(lambda x: F.soft_margin_loss(x, np.array([-1, 1, 1]), reduction="sum"))(far), [1, -1, 0]
    )
    zero = np.array([0.0, 1.0])
    assert F.kl_div(np.array([-np.inf, 0.0]), zero) == 0
    slopes = gl.grad(lambda x, y: F.kl_div(x, y, reduction="sum", log_target=True), argnums=(0, 1))(
        np.array([-np.inf, 0.0]), np.array([-np.inf, 0.0])
    )
    np.testing.assert_array_equal(slopes, [[0, -1], [0, 1]])
    slopes = gl.grad(lambda x, y: F.kl_div(x, y, reduction="sum"), argnums=(0, 1))(np.array([-np.inf, 0.0]), zero)
    np.testing.assert_array_equal(slopes, [[0, -1], [0, 1]])
    assert F.binary_cross_entropy(np.array([0.0, 1.0]), np.array([0.0, 1.0])) == 0
    assert F.binary_cross_entropy(np.array([0.0]), np.array([1.0])) == 100
    with np.errstate(invalid="ignore"):
        assert np.isnan(F.binary_cross_entropy(np.array([1.5]), np.array([1.0])))
        assert np.isnan(F.gaussian_nll_loss(zero, zero, np.array([1.0, -1.0])))
    same = gl.grad(lambda x, y: F.cosine_similarity(x, y, axis=0), argnums=(0, 1))(np.zeros(3), np.ones(3))
    np.testing.assert_allclose(same, [[1e8 / 3**0.5] * 3, [0] * 3], rtol=1e-12)


def test_layers_say_how_they_compute() -> None:
    assert repr(nn.MSELoss("sum")) == "MSELoss(reduction='sum')"
    assert (
        repr(nn.CrossEntropyLoss(WEIGHT))
        == "CrossEntropyLoss(ignore_index=-100, label_smoothing=0.0, reduction='mean')"
    )
    assert repr(nn.KLDivLoss(reduction="batchmean")) == "KLDivLoss(log_target=False, reduction='batchmean')"
    assert repr(nn.CosineSimilarity(dim=-1)) == "CosineSimilarity(axis=-1, eps=1e-08)"
