"""The recipes of `examples/zoo`: published models at their published sizes, planned on specs."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import gradloom as gl
import pytest
from gradloom.tools.find_recipe import make_recipe

ZOO = Path(__file__).parents[2] / "examples" / "zoo"

LARGE = ("gpt2_xl", "llama2_7b")
PUBLISHED = {
    # torchvision's models have as many.
    "vgg16": 138_357_544,
    "resnet50": 25_557_032,
    # Keras: trainable parameters of MobileNet(alpha=1).
    "mobilenet_v1": 4_231_976,
    # 3 x 3 convolutions, 2 x 2 up-convolutions and the last 1 x 1 of figure 1, with biases.
    "unet": 31_030_658,
    # Hugging Face's BertForPreTraining("bert-base-uncased"), GPT2LMHeadModel("gpt2"), ("gpt2-xl").
    "bert_base": 110_106_428,
    "gpt2_small": 124_439_808,
    "gpt2_xl": 1_557_611_200,
    "llama2_7b": 6_738_415_616,
    # Embedding, two layers of 4 (2 * 650 * 650 + 2 * 650), and the softmax of the paper's medium model.
    "lstm": 10_000 * 650 + 2 * 4 * (2 * 650 * 650 + 2 * 650) + 650 * 10_000 + 10_000,
}


def test_every_recipe_of_the_zoo_is_known():
    recipes = {path.stem for path in ZOO.glob("*.py")} - {"table", "torch_models"}
    assert recipes == set(PUBLISHED)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in PUBLISHED]
)
def test_it_has_as_many_parameters_as_was_published_and_is_planned(name: str):
    model, loss_fn, optimizer, batch = make_recipe(f"{ZOO / name}.py:recipe")
    assert sum(math.prod(p.shape) for _, p in model.stored_parameters()) == PUBLISHED[name]
    report = gl.plan_step(model, loss_fn, optimizer, batch, threads=2).report
    assert report.parameter_bytes == 4 * PUBLISHED[name]
    assert report.arena_bytes <= 1.05 * report.lower_bound_bytes
    if name not in LARGE:
        report.check()


@pytest.mark.parametrize("name", LARGE)
def test_a_large_one_has_as_many_parameters_as_was_published(name: str):
    model = make_recipe(f"{ZOO / name}.py:recipe")[0]
    assert sum(math.prod(p.shape) for _, p in model.stored_parameters()) == PUBLISHED[name]


@pytest.mark.peers
@pytest.mark.parametrize("name", [name for name in PUBLISHED if name != "llama2_7b"])
def test_its_twin_in_torch_has_as_many_parameters(name: str, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(ZOO)
    models = importlib.import_module("torch_models")
    assert sum(p.numel() for p in models.model_of(name).parameters()) == PUBLISHED[name]


@pytest.mark.peers
def test_what_torch_saves_is_counted_once(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(ZOO)
    models = importlib.import_module("torch_models")
    line = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(4, 5))
    monkeypatch.setattr(models, "model_of", lambda name: line.to("meta"))
    monkeypatch.setitem(models.MODELS, "line", (None, lambda model, batch: (model(batch["x"]) ** 2).sum()))
    # tanh, which its own derivative and the next product read, and the last product, which is squared.
    assert models.saved_bytes("line", {"x": gl.spec((7, 3), "float32")}) == 7 * 4 * 4 + 7 * 5 * 4
