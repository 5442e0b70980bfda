"""The wider list of workloads: the kinds of models that people train, each written once for all frameworks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ...engine import optim
from ...engine.optim import Optimizer
from ...ir import ArrayType, spec
from ..recipes import Ingredients
from .frameworks import Framework, of_gradloom, of_jax, of_torch
from .models import dense, images, sequences, transformers

Loss = Callable[[Framework, Any, Any], Any]


@dataclass(frozen=True)
class Written:
    """A workload written once: model and loss for a framework, and one batch. A workload without a loss is inference:
    the model's outputs, of a program that is compiled once.
    """

    model: Callable[[Framework], Any]
    loss: Loss | None
    batch: Mapping[str, ArrayType]
    numbers: int = 10
    """How many values each integer of the batch may have."""
    batch_axis: Mapping[str, int] = dataclasses.field(default_factory=dict[str, int])
    """The axis of the examples, where it is not the first."""
    without: tuple[str, ...] = ()
    """Peers that take no part."""
    optimizer: Optimizer = dataclasses.field(default_factory=lambda: optim.AdamW(1e-3))

    def recipe(self) -> Ingredients:
        """Gradloom's own."""
        ours = of_gradloom()
        return Ingredients(self.model(ours), partial(self._outputs, ours), self.optimizer, dict(self.batch))

    def _outputs(self, framework: Framework, model: Any, batch: Any) -> Any:
        return model(*batch.values()) if self.loss is None else self.loss(framework, model, batch)

    def peer(self, framework: str) -> Callable[..., Any]:
        """What makes the side of "torch" or "jax"."""
        return {"torch": self.in_torch, "jax": self.in_jax}[framework]

    def in_torch(self) -> tuple[Any, Callable[[Any, Any], Any], Any]:
        """Model, loss function and optimizer of PyTorch."""
        from .torch_module import optimizer_in_torch

        theirs = of_torch()
        model = self.model(theirs)
        return model, partial(self._outputs, theirs), optimizer_in_torch(model, self.optimizer)

    def in_jax(self, values: Mapping[str, Any]) -> tuple[Callable[[Any, Any], Any], Any]:
        """Loss function and parameters of JAX, from the initial values."""
        from .jax_layers import bound

        theirs = of_jax()
        model = self.model(theirs)
        return lambda params, batch: self._outputs(theirs, bound(model, params), batch), list(values.values())


def _classified(f: Framework, model: Any, batch: Any) -> Any:
    return f.functional.cross_entropy(model(batch["x"]), batch["y"])


def _next_token(f: Framework, model: Any, batch: Any) -> Any:
    logits = model(batch["x"])
    return f.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), batch["y"].reshape(-1))


def _segmented(f: Framework, model: Any, batch: Any) -> Any:
    return f.functional.binary_cross_entropy_with_logits(model(batch["x"]), f.functional.sigmoid(batch["y"]))


def _judged(f: Framework, model: Any, batch: Any) -> Any:
    real, made = model(batch["x"], batch["z"])
    return f.functional.softplus(-real).mean() + f.functional.softplus(made).mean()


def _evidence(f: Framework, model: Any, batch: Any) -> Any:
    logits, mean, log_variance = model(batch["x"], batch["noise"])
    pixels = f.functional.binary_cross_entropy_with_logits(logits, f.functional.sigmoid(batch["x"]))
    return pixels + 1e-3 * (mean**2 + f.numpy.exp(log_variance) - 1 - log_variance).mean()


def _clicked(f: Framework, model: Any, batch: Any) -> Any:
    logits = model(batch["dense"], batch["places"])
    return f.functional.binary_cross_entropy_with_logits(logits, f.functional.sigmoid(batch["y"]))


def _equation(f: Framework, model: Any, batch: Any) -> Any:
    """What is left of u_t + u u_x = u_xx / 100 where a point is (t, x), and how far u is from what was measured."""
    first = f.grad(lambda points: model(points).sum())
    points = batch["points"]
    slopes = first(points)
    bent = f.grad(lambda points: first(points)[:, 1].sum())(points)[:, 1]
    u = model(points)
    left = slopes[:, 0] + u[:, 0] * slopes[:, 1] - bent / 100
    return (left**2).mean() + f.functional.mse_loss(u, batch["u"])


def _images(count: int, side: int) -> dict[str, ArrayType]:
    return {"x": spec((count, 3, side, side)), "y": spec(count, "int64")}


def _tokens(count: int, length: int) -> dict[str, ArrayType]:
    return {"x": spec((count, length), "int64"), "y": spec((count, length), "int64")}


def _sequences(steps: int, count: int, inputs: int) -> dict[str, ArrayType]:
    return {"x": spec((steps, count, inputs)), "y": spec(count, "int64")}


def _rows(count: int, width: int) -> dict[str, ArrayType]:
    return {"x": spec((count, width)), "y": spec(count, "int64")}


_MOBILE = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1))
_PERCEPTRON = (784, 512, 512, 10)
_GPT = {"vocabulary": 256, "context": 128, "width": 128, "heads": 4, "layers": 4}


def _of(make: Callable[..., Any], *sizes: Any, **options: Any) -> Callable[[Framework], Any]:
    return lambda framework: make(framework, *sizes, **options)


_SLOW = optim.AdamW(1e-5)
"""Deep networks of batch norm make rounding errors grow from step to step, where steps are large."""


WIDER: Mapping[str, Written] = {
    "vit": Written(_of(transformers.vision, 64, 8, 192, 6, 6, 10), _classified, _images(16, 64)),
    "gpt384": Written(
        _of(transformers.transformer, 5003, 256, 384, 6, 6, tied=True), _next_token, _tokens(4, 256), 5003
    ),
    "llama": Written(_of(transformers.llama, 256, 128, 256, 8, 2, 4), _next_token, _tokens(8, 128), 256),
    "mixer": Written(_of(transformers.mixer, 64, 8, 192, 96, 6, 10), _classified, _images(16, 64)),
    "vocab50k": Written(
        _of(transformers.words, 50_000, 8, 128),
        _classified,
        {"x": spec((128, 8), "int64"), "y": spec(128, "int64")},
        50_000,
    ),
    "resnet18": Written(_of(images.residual, (64, 128, 256, 512), 2), _classified, _images(32, 32), optimizer=_SLOW),
    "mobilenet": Written(_of(images.mobile, _MOBILE), _classified, _images(32, 32), optimizer=_SLOW),
    "unet": Written(_of(images.unet, (16, 32, 64)), _segmented, {"x": spec((8, 3, 64, 64)), "y": spec((8, 1, 64, 64))}),
    "dcgan": Written(_of(images.adversaries, 64, 32), _judged, {"x": spec((32, 3, 32, 32)), "z": spec((32, 64, 1, 1))}),
    "conv3d": Written(
        _of(images.volumes, (16, 32, 64)), _classified, {"x": spec((8, 1, 16, 32, 32)), "y": spec(8, "int64")}
    ),
    "wavenet": Written(
        _of(sequences.wavenet, 256, 32, 8),
        _classified,
        {"x": spec((4, 1, 2048)), "y": spec((4, 2048), "int64")},
        256,
    ),
    "gru": Written(_of(sequences.recurrent, "GRU", 64, 256), _classified, _sequences(64, 32, 64), batch_axis={"x": 1}),
    "bilstm": Written(
        _of(sequences.recurrent, "LSTM", 64, 128, num_layers=2, bidirectional=True),
        _classified,
        _sequences(64, 32, 64),
        batch_axis={"x": 1},
    ),
    "bn_mlp": Written(_of(dense.perceptron, 784, 512, 512, 10, norm=True), _classified, _rows(128, 784)),
    "vae": Written(_of(dense.autoencoder, 784, 400, 20), _evidence, {"x": spec((128, 784)), "noise": spec((128, 20))}),
    "pinn": Written(
        _of(dense.perceptron, 2, 64, 64, 64, 1, activation="Tanh"),
        _equation,
        {"points": spec((1024, 2)), "u": spec((1024, 1))},
    ),
    "dlrm": Written(
        _of(dense.recommender, 8, 125_000, 32, 13, (64,)),
        _clicked,
        {"dense": spec((256, 13)), "places": spec((256, 8), "int64"), "y": spec(256)},
        125_000,
        without=("torch-compile", "torch-autotune", "torch-compile-graph"),  # it compiles no sparse gradients
        optimizer=optim.SGD(0.1),
    ),
    "mlp_1": Written(_of(dense.perceptron, *_PERCEPTRON), None, {"x": spec((1, 784))}),
    "mlp_64": Written(_of(dense.perceptron, *_PERCEPTRON), None, {"x": spec((64, 784))}),
    "resnet_1": Written(_of(images.residual, (16, 32, 64), 1), None, {"x": spec((1, 3, 32, 32))}, without=("jax",)),
    "gpt_1": Written(_of(transformers.transformer, **_GPT), None, {"x": spec((1, 128), "int64")}, 256),
}
"""By name. Those that end with a number are inference with so many examples."""
