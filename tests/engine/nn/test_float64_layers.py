"""A layer made float64 computes in float64 throughout, whatever floats it is given, as NumPy promotes them."""

from __future__ import annotations

import inspect
from typing import Any

import gradloom as gl
import numpy as np
import optree
import pytest
from gradloom import nn

RNG = np.random.default_rng(0)
ROWS, SEQUENCE = (5, 6), (3, 5, 6)
SPATIAL = {1: (2, 4, 8), 2: (2, 4, 8, 8), 3: (2, 4, 6, 6, 6)}


def _for_each_rank() -> dict[str, tuple[Any, tuple[int, ...]]]:
    cases: dict[str, tuple[Any, tuple[int, ...]]] = {}
    for n, shape in SPATIAL.items():
        for name in ("AdaptiveAvgPool", "AdaptiveMaxPool", "AvgPool", "MaxPool"):
            cases[f"{name}{n}d"] = (lambda c: c(3), shape)
        cases[f"LPPool{n}d"] = (lambda c: c(2, 2), shape)
        for name in ("BatchNorm", "InstanceNorm"):
            cases[f"{name}{n}d"] = (lambda c: c(4, affine=True, track_running_stats=True), shape)
        for name in ("CircularPad", "ReflectionPad", "ReplicationPad", "ZeroPad"):
            cases[f"{name}{n}d"] = (lambda c: c(1), shape)
        cases[f"ConstantPad{n}d"] = (lambda c: c(1, 0.1), shape)
        for name in ("Conv", "ConvTranspose"):
            cases[f"{name}{n}d"] = (lambda c: c(4, 4, 3), shape)
        cases[f"Dropout{n}d"] = (lambda c: c(0.3), shape)
    return cases


SEVERAL_INPUTS = {
    2: [
        "MSELoss",
        "L1Loss",
        "SmoothL1Loss",
        "HuberLoss",
        "PoissonNLLLoss",
        "BCELoss",
        "BCEWithLogitsLoss",
        "KLDivLoss",
        "SoftMarginLoss",
        "MultiLabelSoftMarginLoss",
        "HingeEmbeddingLoss",
        "CosineSimilarity",
        "PairwiseDistance",
    ],
    3: ["GaussianNLLLoss", "MarginRankingLoss", "TripletMarginLoss", "TripletMarginWithDistanceLoss"],
}
LABELLED = ["CrossEntropy", "NLL", "MultiMargin", "MultiLabelMargin", "CosineEmbedding", "CTC"]
CASES: dict[str, tuple[Any, tuple[int, ...]]] = {
    **_for_each_rank(),
    **{
        name: (lambda c: c(), ROWS)
        for name in [
            "ELU",
            "CELU",
            "SELU",
            "GELU",
            "GLU",
            "ReLU",
            "RReLU",
            "PReLU",
            "SiLU",
            "Mish",
            "Sigmoid",
            "LogSigmoid",
            "Hardsigmoid",
            "Hardswish",
            "Hardshrink",
            "Softshrink",
            "Softplus",
            "Softsign",
            "Tanh",
            "Tanhshrink",
            "Softmax",
            "Softmin",
            "LogSoftmax",
            "AlphaDropout",
            "FeatureAlphaDropout",
        ]
    },
    **{name: (lambda c: c(), ROWS) for name in ("LeakyReLU", "ReLU6", "Hardtanh", "Dropout", "Flatten", "Identity")},
    "GELU": (lambda c: c("tanh"), ROWS),
    **{name: (lambda c: c(6, 4, 2, bidirectional=True), SEQUENCE) for name in ("RNN", "GRU")},
    "LSTM": (lambda c: c(6, 4, 2, bidirectional=True, proj_size=3), SEQUENCE),
    **{name: (lambda c: c(6, 4), ROWS) for name in ("RNNCell", "LSTMCell", "GRUCell", "Linear")},
    "GroupNorm": (lambda c: c(2, 4), SPATIAL[2]),
    "LayerNorm": (lambda c: c(6), ROWS),
    "PixelShuffle": (lambda c: c(2), SPATIAL[2]),
    "PixelUnshuffle": (lambda c: c(2), SPATIAL[2]),
    "Unflatten": (lambda c: c(1, (2, 3)), ROWS),
    "Upsample": (lambda c: c(scale_factor=1.5, mode="bilinear"), SPATIAL[2]),
    "UpsamplingBilinear2d": (lambda c: c(scale_factor=2), SPATIAL[2]),
    "UpsamplingNearest2d": (lambda c: c(scale_factor=2), SPATIAL[2]),
    "Residual": (lambda c: c(nn.Linear(6, 6)), ROWS),
    "Sequential": (lambda c: c(nn.Linear(6, 3), nn.Tanh()), ROWS),
    "MultiheadAttention": (lambda c: c(6, 2, dropout=0.1), SEQUENCE),
    "TransformerEncoderLayer": (lambda c: c(6, 2, 8), SEQUENCE),
    "TransformerEncoder": (lambda c: c(nn.TransformerEncoderLayer(6, 2, 8), 2), SEQUENCE),
    "Embedding": (lambda c: c(9, 3), ROWS),
    "EmbeddingBag": (lambda c: c(9, 3), ROWS),
    "Transformer": (lambda c: c(6, 2, 1, 1, 8), SEQUENCE),
    "TransformerDecoderLayer": (lambda c: c(6, 2, 8), SEQUENCE),
    "TransformerDecoder": (lambda c: c(nn.TransformerDecoderLayer(6, 2, 8), 2), SEQUENCE),
    "RotaryEmbedding": (lambda c: c(6), SEQUENCE),
    "Fold": (lambda c: c((3, 3), 2), (2, 8, 4)),
    "Unfold": (lambda c: c(2), SPATIAL[2]),
    "Softmax2d": (lambda c: c(), SPATIAL[2]),
    "Threshold": (lambda c: c(0.5, 0.1), ROWS),
    "RMSNorm": (lambda c: c(6), ROWS),
    "LocalResponseNorm": (lambda c: c(3), SPATIAL[1]),
    "ChannelShuffle": (lambda c: c(2), SPATIAL[1]),
    "Bilinear": (lambda c: c(6, 6, 3), ROWS),
    "Highway": (lambda c: c(6), ROWS),
    "CrossMapLRN2d": (lambda c: c(3), SPATIAL[2]),
    "SyncBatchNorm": (lambda c: c(4), SPATIAL[2]),
    "FractionalMaxPool2d": (lambda c: c(2, 2), SPATIAL[2]),
    "FractionalMaxPool3d": (lambda c: c(2, 2), SPATIAL[3]),
    **{name: (lambda c: c(), ROWS) for names in SEVERAL_INPUTS.values() for name in names},
    **{f"{name}Loss": (lambda c: c(), ROWS) for name in LABELLED},
    "NLLLoss2d": (lambda c: c(), ROWS),
}
LAZY = {name for name in nn.__all__ if name.startswith("Lazy")}
"""Layers that become others when they are first called."""
OTHERS = {"MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d", "AdaptiveLogSoftmaxWithLoss", "LinearCrossEntropyLoss"}
"""Layers with arguments of kinds of their own, which are compared with torch in float64 where they are tested."""
BASES = {"Module", "Container", "RNNBase", "RNNCellBase"}
CONTAINERS = {*BASES, "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "KVCache", *LAZY, *OTHERS}


def test_every_layer_is_in_the_table() -> None:
    layers = {n for n in nn.__all__ if inspect.isclass(getattr(nn, n)) and issubclass(getattr(nn, n), nn.Module)}
    assert layers == CASES.keys() | CONTAINERS


def made(name: str) -> Any:
    build, _ = CASES[name]
    return build(getattr(nn, name))


def inputs(name: str, dtype: str) -> tuple[Any, ...]:
    shape = CASES[name][1]
    if name.startswith("Embedding"):
        return (RNG.integers(0, 9, shape),)
    x = RNG.uniform(0.1, 1, shape).astype(dtype)
    if name == "CTCLoss":
        return x[:, None], np.array([[1, 2]]), np.array([5]), np.array([2])
    if name == "CosineEmbeddingLoss":
        return x, x, np.array([1, -1, 1, -1, 1])
    if name.removesuffix("2d").removesuffix("Loss") in LABELLED:
        return x, RNG.integers(0, 6, ROWS if name == "MultiLabelMarginLoss" else 5)
    count = {"MultiheadAttention": 3, "Bilinear": 2, "Transformer": 2}.get(name, 2 if "Decoder" in name else 1)
    return (x,) * next((n for n, names in SEVERAL_INPUTS.items() if name in names), count)


def values(model: Any) -> dict[str, Any]:
    return nn.init_parameters(model, 0)


def float_dtypes(graph: gl.ir.Graph) -> set[str]:
    return {v.type.dtype.name for v in graph.outputs if v.type.dtype.kind == "f"}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", sorted(CASES))
def test_a_float64_layer_gives_float64(name: str, training: bool) -> None:
    model = made(name).to("float64")
    stored = values(model)
    assert {v.dtype.name for v in stored.values() if v.dtype.kind == "f"} <= {"float64"}
    for given in ("float64", "float32") if stored else ("float64",):

        def run(p: dict[str, Any], *x: Any) -> Any:
            with gl.random.key(0):
                return nn.functional_call(model, p, *x, training=training)

        x = inputs(name, given)
        assert float_dtypes(gl.trace(run, stored, *x)) == {"float64"}
        if given == "float32" and "Norm" not in name and "Encoder" not in name:
            # Nothing on the way is rounded to float32, but for the statistics of a float32 input.
            wide = tuple(v.astype("float64") if v.dtype.kind == "f" else v for v in x)
            for a, b in zip(optree.tree_leaves(run(stored, *x)), optree.tree_leaves(run(stored, *wide))):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"])
def test_states_are_promoted_with_input_and_weights(name: str) -> None:
    def dtypes(weights: str, x: str, state: str | None) -> set[str]:
        model = made(name).to(weights)
        (rows,) = inputs(name, x)
        hidden: Any = None
        if state is not None:
            layers = (4,) if "Cell" not in name else ()
            hidden = np.zeros((*layers, 5, 3 if name == "LSTM" else 4), state)
            hidden = (hidden, np.zeros((*layers, 5, 4), state)) if "LSTM" in name else hidden
        run = lambda p, x, h: nn.functional_call(model, p, x, h)  # noqa: E731
        return float_dtypes(gl.trace(run, values(model), rows, hidden))

    assert dtypes("float32", "float32", None) == {"float32"}
    assert dtypes("float32", "float32", "float32") == {"float32"}
    for given in (("float64", "float32", "float32"), ("float32", "float64", None), ("float32", "float32", "float64")):
        assert dtypes(*given) == {"float64"}


def test_a_step_of_a_float64_model_trains_in_float64() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            self.norm = nn.BatchNorm1d(6)
            self.loop = nn.LSTM(6, 4, batch_first=True)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            x = self.norm(np.swapaxes(x, 1, 2))
            return self.head(self.loop(np.swapaxes(x, 1, 2))[0][:, -1])

    batch = {"x": RNG.normal(size=(3, 5, 6)), "y": np.array([0, 1, 1])}
    loss_fn = lambda model, batch: nn.cross_entropy(model(batch["x"]), batch["y"])  # noqa: E731
    step = gl.compile_step(Model().to("float64"), loss_fn, gl.optim.AdamW(1e-2), batch)
    losses = [step(batch) for _ in range(3)]
    assert losses[0].dtype == np.float64
    assert losses[2] < losses[0]
    assert {v.dtype.name for v in step.parameters().values()} == {"float64"}
