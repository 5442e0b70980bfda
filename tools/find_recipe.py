"""From a recipe's name on the command line to what it returns."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import sys
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import optree

from ..engine.nn import Module
from ..engine.nn.registration import torch_name
from ..engine.nn.state_dict import plain_array
from ..engine.optim import Optimizer
from ..ir.near_names import similar
from .command_error import CommandError
from .recipes import RECIPES, Ingredients


def make_recipe(name: str) -> Ingredients:
    """Call the recipe `name`: one of `RECIPES`, `module:function`, or `file.py:function`.

    Raises `CommandError` where there is no such recipe, or where it returns anything but its ingredients: four, and, as
    it likes, validation data and metrics. What the recipe itself raises goes through.
    """
    made: Any = RECIPES[name]() if name in RECIPES else _function(name)()
    if not isinstance(made, tuple) or not 4 <= len(made) <= 6:
        got = f"got {_brief(made)}; validation data and metrics may follow"
        raise CommandError(f"the recipe {name} must return (model, loss_fn, optimizer, batch), {got}")
    model, loss_fn, optimizer, *_ = made
    for what, value, fits, wanted in (
        ("model", model, isinstance(model, Module), "a gl.nn.Module"),
        ("loss_fn", loss_fn, callable(loss_fn), "a function of the model and a batch"),
        ("optimizer", optimizer, isinstance(optimizer, Optimizer), "one of gl.optim"),
    ):
        if not fits:
            raise CommandError(f"the recipe {name} returns as its {what} {_brief(value)}, expected {wanted}")
    found = Ingredients(model, loss_fn, optimizer, optree.tree_map(_plain, made[3]))
    found.validate, found.metrics = (*made[4:], None, None)[:2]
    return found


def _plain(leaf: Any) -> Any:
    """A tensor of torch as an array."""
    return leaf if torch_name(leaf) is None else plain_array(leaf)


def _brief(value: Any) -> str:
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else f"a value of type {type(value).__name__}"


def _function(name: str) -> Any:
    place, colon, function = name.rpartition(":")
    if not colon or not place or not function:
        file = name.removesuffix(":")
        if file.endswith(".py"):
            raise CommandError(f"{file} is a file; name the function too, as in {file}:recipe")
        near = similar(name, RECIPES)
        advice = f"write one of {', '.join(RECIPES)}, or module:function, or file.py:function"
        raise CommandError(f"there is no recipe {name!r}; {near + '; ' if near else ''}{advice}")
    module = _from_file(Path(place)) if place.endswith(".py") else _from_module(place)
    found = getattr(module, function, None)
    if not callable(found):
        functions = [known for known, value in vars(module).items() if inspect.isfunction(value)]
        near = similar(function, functions)
        raise CommandError(f"{place} has no function {function!r}{'; ' + near if near else ''}")
    parameters = inspect.signature(found).parameters.values()
    wanted = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if wanted:
        raise CommandError(f"the recipe {name} must take no arguments, but it asks for {', '.join(wanted)}")
    return found


class _FromSource(importlib.machinery.SourceFileLoader):
    """Compiles the text that stands in the file now.

    Python's cache takes a file that is written twice in one second with as many bytes for unchanged.
    """

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise CommandError(f"{path}: there is no such file")
    name = f"recipe_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_FromSource(name, str(path)))
    if spec is None or spec.loader is None:
        raise CommandError(f"{path} cannot be loaded as Python code")
    module = importlib.util.module_from_spec(spec)
    _allow_imports_from(path.resolve().parent)
    sys.modules[name] = module  # dataclasses look for their module there
    spec.loader.exec_module(module)
    return module


def _from_module(name: str) -> ModuleType:
    _allow_imports_from(Path.cwd())
    if name.startswith("."):
        raise CommandError(f"{name!r} is no absolute name of a module")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # An import inside the module that fails is the recipe's own error.
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise
        raise CommandError(f"there is no module {name!r}") from error


def _allow_imports_from(folder: Path) -> None:
    """Let the recipe import its neighbours; behind all else, so that none of them hides an installed package."""
    if os.fspath(folder) not in sys.path:
        sys.path.append(os.fspath(folder))


def recipe_namesake(name: str, suffix: str) -> Any:
    """The function `NAME_suffix` that stands beside a user's recipe `NAME`, or `None`."""
    if name in RECIPES:
        return None
    function = _function(name)
    return getattr(sys.modules[function.__module__], f"{name.rpartition(':')[2]}_{suffix}", None)
