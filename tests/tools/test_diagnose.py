"""`gradloom diagnose`: steps of a recipe, and what is said of its layers."""

import json
import re
from pathlib import Path

import pytest
from gradloom.tools.cli import main

RECIPES = """
import math
import gradloom as gl
from gradloom import nn

def recipe(scale):
    layers = []
    for _ in range(50):
        layers += [nn.Linear(16, 16), nn.ReLU()]
        nn.init.normal_(layers[-2].weight, std=scale / math.sqrt(16))
        nn.init.zeros_(layers[-2].bias)
    batch = {"x": gl.spec((32, 16)), "y": gl.spec((32,), "int64")}

    def loss_fn(model, batch):
        return nn.cross_entropy(model(batch["x"]), batch["y"])

    return nn.Sequential(*layers), loss_fn, gl.optim.SGD(1e-3), batch

def too_small():
    return recipe(0.6)

def too_large():
    return recipe(3.0)

def wild(activation, optimizer):
    layers = [layer for _ in range(3) for layer in (nn.Linear(32, 32), activation())]
    batch = {"x": gl.spec((64, 32)), "y": gl.spec((64,), "int64")}

    def loss_fn(model, batch):
        return nn.cross_entropy(model(batch["x"]), batch["y"])

    return nn.Sequential(*layers, nn.Linear(32, 4)), loss_fn, optimizer, batch

def saturates():
    return wild(nn.Tanh, gl.optim.SGD(10.0))

def dies():
    return wild(nn.ReLU, gl.optim.SGD(100.0))

def learns():
    return wild(nn.ReLU, gl.optim.Adam(0.01))
"""


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "deep.py").write_text(RECIPES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_fifty_layers_whose_weights_are_too_small_vanish_and_all_files_are_written(recipes, capsys):
    files = ["--json", "d.json", "--html", "d.html", "--plot", "d.svg"]
    assert main(["diagnose", "deep.py:too_small", "--steps", "2", "--seed", "1", *files]) == 0
    out = capsys.readouterr().out
    assert out.startswith("step 2, loss ")
    assert len(re.findall(r"^ \d+  (?:Linear|ReLU) ", out, re.MULTILINE)) == 100
    said = " ".join(out.split())
    assert re.search(r"gradients shrink by 0\.3\d? a layer from 0 to \d+: vanishing; Kaiming initialization", said)
    assert said.endswith("the data is random")
    whole = json.loads((recipes / "d.json").read_text())
    assert whole["step"] == 2
    assert "deep.py:too_small" in (recipes / "d.html").read_text()
    assert (recipes / "d.svg").read_text().startswith("<svg")


def test_weights_that_are_too_large_explode_and_json_can_stand_alone(recipes, capsys):
    assert main(["diagnose", "deep.py:too_large", "--steps", "3", "--json", "d.json"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "exploding; Kaiming initialization would give 1.0" in out
    assert re.search(r"step \d: non-finite values first at \d+: ", out)
    assert main(["diagnose", "deep.py:too_large", "--steps", "1", "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert whole["findings"] == json.loads((recipes / "d.json").read_text())["findings"]


@pytest.mark.parametrize(("name", "rate"), [("saturates", "10"), ("dies", "1e+02")])
def test_a_learning_rate_that_drove_the_loss_up_is_told_where_the_layers_lie_still(recipes, capsys, name, rate):
    assert main(["diagnose", f"deep.py:{name}", "--steps", "20", "--json", "d.json"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(
        rf"the loss went from 1\.\d+ to .* in step \d+; in step 1 the update is .*: the learning rate "
        rf"{re.escape(rate)} is too large",
        said,
    )
    assert "the loss went from" in json.loads((recipes / "d.json").read_text())["findings"][-1]
    assert main(["diagnose", "deep.py:learns", "--steps", "20"]) == 0
    assert "nothing stands out" in capsys.readouterr().out


def test_the_digits_are_healthy(capsys):
    assert main(["diagnose", "digits", "--steps", "3", "--batch-size", "16"]) == 0
    assert "nothing stands out" in capsys.readouterr().out


def test_what_cannot_be_done_is_said(recipes, capsys):
    assert main(["diagnose", "digits", "--steps", "1", "--html", "missing/page.html"]) == 2
    assert "cannot write missing/page.html: No such file or directory" in capsys.readouterr().err
    assert main(["diagnose", "resnet", "--batch-size", "4"]) == 2
    assert "leave --batch-size out" in capsys.readouterr().err
    assert main(["diagnose", "digit"]) == 2
    assert "there is no recipe 'digit'" in capsys.readouterr().err
