"""A recipe is found by its name, and what is none is named as such."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import gradloom as gl
import numpy as np
import pytest
from gradloom.tools.command_error import CommandError
from gradloom.tools.find_recipe import make_recipe
from gradloom.tools.recipes import RECIPES

RECIPE = """
import gradloom as gl
from dataclasses import dataclass

@dataclass
class Width:
    value: "int" = 3

def loss_fn(model, batch):
    return gl.nn.mse_loss(model(batch["x"]), batch["y"])

def line():
    batch = {"x": gl.spec((8, Width().value)), "y": gl.spec((8, 1))}
    return gl.nn.Linear(Width().value, 1), loss_fn, gl.optim.SGD(0.1), batch

def short(): return line()[:3]
def number(): return 3
def no_model(): return (None, *line()[1:])
def no_optimizer(): return (*line()[:2], "adam", line()[3])
def wide(width, depth=2, **rest): return line()
def broken(): raise ZeroDivisionError("by the recipe")
constant = 5
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_recipes.py").write_text(RECIPE)
    (tmp_path / "needs_more.py").write_text("import there_is_no_such_module\n")
    (tmp_path / "uses_neighbour.py").write_text("from my_recipes import line\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("my_recipes", "needs_more", "uses_neighbour"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_of_ours_makes_a_step_that_can_be_planned(name: str):
    model, loss_fn, optimizer, batch = make_recipe(name)
    assert gl.plan_step(model, loss_fn, optimizer, batch).report.total_bytes > 0


@pytest.mark.parametrize("name", ["my_recipes.py:line", "my_recipes:line", "uses_neighbour.py:line"])
def test_a_recipe_comes_from_a_file_or_a_module_of_this_folder(name: str):
    model, loss_fn, optimizer, batch = make_recipe(name)
    step = gl.compile_step(model, loss_fn, optimizer, batch)
    assert step({"x": np.ones((8, 3), np.float32), "y": np.zeros((8, 1), np.float32)}) > 0


def test_a_recipe_is_found_in_a_file_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert isinstance(make_recipe(f"{folder}/my_recipes.py:line").model, gl.nn.Linear)
    assert isinstance(make_recipe("../uses_neighbour.py:line").model, gl.nn.Linear)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit", "no recipe 'digit'; similar: digits; write one of digits, mnist"),
        ("", "no recipe ''"),
        ("my_recipes.py", "my_recipes.py is a file; name the function too, as in my_recipes.py:recipe"),
        ("my_recipes.py:", "my_recipes.py is a file; name the function too, as in my_recipes.py:recipe"),
        (":line", "no recipe ':line'"),
        ("others.py:line", "others.py: there is no such file"),
        ("others:line", "no module 'others'"),
        (".others:line", "'.others' is no absolute name"),
        ("my_recipes:curve", "my_recipes has no function 'curve'"),
        ("my_recipes.py:constant", "my_recipes.py has no function 'constant'"),
        ("my_recipes.py:short", r"must return \(model, loss_fn, optimizer, batch\), got a tuple of 3"),
        ("my_recipes.py:number", "got a value of type int"),
        ("my_recipes.py:no_model", "as its model a value of type NoneType, expected a gl.nn.Module"),
        ("my_recipes.py:no_optimizer", "as its optimizer a value of type str, expected one of gl.optim"),
        ("my_recipes.py:wide", "must take no arguments, but it asks for width"),
    ],
)
def test_what_is_no_recipe_is_refused(name: str, message: str):
    with pytest.raises(CommandError, match=message):
        make_recipe(name)


def test_errors_of_the_recipe_itself_go_through():
    with pytest.raises(ZeroDivisionError, match="by the recipe"):
        make_recipe("my_recipes.py:broken")
    for name in ("needs_more:line", "needs_more.py:line"):
        with pytest.raises(ModuleNotFoundError, match="there_is_no_such_module"):
            make_recipe(name)


def test_a_file_that_is_written_twice_in_a_moment_is_read_as_it_is_now(tmp_path: Path):
    file = tmp_path / "mine.py"
    text = (
        "import gradloom as gl\n\n\ndef recipe():\n"
        "    loss = lambda m, x: (m(x) ** 2).mean()\n"
        "    return gl.nn.Linear(2, {}), loss, gl.optim.SGD(0.1), gl.spec((3, 2))\n"
    )
    for width in (3, 4, 5):
        file.write_text(text.format(width))
        os.utime(file, (1_000_000_000, 1_000_000_000))
        assert make_recipe(f"{file}:recipe").model.weight.shape == (width, 2)
    assert not (tmp_path / "__pycache__").exists()
