"""Every error that a user can meet ends with the user's own line: it is raised so, and wrong options show it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

ENGINE = Path(gl.__file__ or "").parent / "engine"
LINE = re.compile(r", at \S*test_users_line\.py:\d+")

INSIDE = {
    "PlanVerificationError": "a mistake of this package",
    "AssertionError": "a mistake of this package",
    "TypeRuleError": "the line is added where the op is emitted",
    "FormatError": "the line is added where the file is named",
    "PaddingError": "is logged, and stops nothing",
    "DiffersError": "is caught where several sizes are tried",
    "RanksTargetError": "the line is added on the rank that tells",
}
"""Errors that no user meets as they are raised, and why."""

ELSEWHERE = {
    "tracing/missing_names.py": "a name that is missing in a module: Python shows the line by itself, and asks often",
    "saving/replace_file.py": "an error of the system, which CheckpointError quotes",
    "torch_import/dtypes.py": "quoted with the name of what has the dtype",
    "torch_import/model.py": "quoted with the name of what has the dtype",
    "torch_import/stand_ins.py": "never runs",
}
"""Files whose errors others quote, or that nobody meets."""


def raised(tree: ast.Module) -> Iterator[tuple[int, str, ast.expr]]:
    """Line, class and message of each error that is made where it is raised."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            name = ast.unparse(node.exc.func).rpartition(".")[2]
            if name.endswith("Error"):
                yield node.lineno, name, node.exc.args[0]


def test_every_error_of_the_engine_is_made_with_the_users_line():
    bare: list[str] = []
    for path in sorted(ENGINE.rglob("*.py")):
        if path.relative_to(ENGINE).as_posix() in ELSEWHERE:
            continue
        for line, name, message in raised(ast.parse(path.read_text())):
            words = isinstance(message, (ast.Constant, ast.JoinedStr, ast.BinOp))
            if words and name not in INSIDE and name != "AttributeError" and "located" not in ast.unparse(message):
                bare.append(f"{path.relative_to(ENGINE)}:{line}: {name}")
    assert not bare, f"write located(...) round the message: {bare}"


# Wrong options of everything that is made by calling a class, and of functions that take options.

OPTIONS: dict[str, Any] = {
    "in_features": 4,
    "out_features": 4,
    "in1_features": 3,
    "in2_features": 3,
    "in_channels": 4,
    "out_channels": 4,
    "kernel_size": 3,
    "num_features": 4,
    "num_channels": 4,
    "num_groups": 2,
    "normalized_shape": 4,
    "num_embeddings": 5,
    "embedding_dim": 4,
    "input_size": 4,
    "hidden_size": 4,
    "embed_dim": 8,
    "num_heads": 2,
    "d_model": 8,
    "nhead": 2,
    "encoder_layer": nn.TransformerEncoderLayer(8, 2),
    "decoder_layer": nn.TransformerDecoderLayer(8, 2),
    "num_layers": 2,
    "n_classes": 20,
    "cutoffs": [4, 8],
    "output_size": 2,
    "upscale_factor": 2,
    "downscale_factor": 2,
    "scale_factor": 2,
    "padding": 1,
    "size": 4,
    "threshold": 0.1,
    "value": 0.1,
    "max_length": 8,
    "num_classes": 4,
    "norm_type": 2,
    "groups": 2,
    "dim": 2,
    "unflattened_size": (2, 2),
    "shape": (3,),
    "lr": 0.1,
    "base": gl.optim.SGD(0.1),
    "base_lr": 0.01,
    "max_lr": 0.1,
    "steps": 10,
    "total_steps": 10,
    "step_size": 2,
    "T_0": 2,
    "gamma": 0.5,
    "milestones": [2],
    "schedules": [gl.optim.schedules.Constant(0.1), gl.optim.schedules.Constant(0.1)],
    "warmup": 3,
    "every": 2,
    "after": gl.optim.schedules.Constant(0.1),
    "lr_lambda": lambda step: 0.1,
    "fn": lambda step: 0.1,
    "arrays": {"x": np.zeros((8, 2), "float32")},
    "tree": {"x": np.zeros((8, 2), "float32")},
    "tokens": np.arange(20),
    "length": 4,
    "sequences": [np.zeros(3), np.zeros(2)],
    "examples": [{"x": np.zeros(3)}, {"x": np.zeros(2)}],
    "batch_size": 2,
    "characters": "abc",
    "k": 1,
    "patience": 2,
    "path": "checkpoint",
    "sparsity": 0.5,
    "degrees": 30,
}
"""A value for each argument that has no default."""

WRONG = (-1, -0.5, 0, 2.5, "nonsense", object(), [], None, float("nan"), (1, 2, 3, 4, 5), {"a": 1}, True)
"""What is tried for every argument; where it is taken, nothing is raised."""

PLACES = (
    nn,
    nn.init,
    nn.augment,
    gl.optim,
    gl.optim.schedules,
    gl.data,
    gl.callbacks,
    gl.metrics,
)


def made_by(place: ModuleType) -> list[Any]:
    """The classes of a module of the public face, and its functions where they make something of options."""
    names = [name for name in place.__all__ if not name.endswith("_")]
    found = [getattr(place, name) for name in names]
    functions = place in (nn.init, gl.data, gl.metrics)
    found = [each for each in found if not (inspect.isclass(each) and issubclass(each, Exception))]
    return [each for each in found if inspect.isclass(each) or functions]


def wrong_calls(make: Callable[..., Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Keywords for `make` of which one has a wrong value; none where it needs an argument that is not in `OPTIONS`."""
    parameters = [p for p in inspect.signature(make).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    needed = [p.name for p in parameters if p.default is p.empty]
    if not OPTIONS.keys() >= set(needed):
        return
    right = {name: OPTIONS[name] for name in needed}
    for parameter in parameters:
        for wrong in WRONG:
            yield parameter.name, right | {parameter.name: wrong}


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__.partition(".")[2])
@pytest.mark.filterwarnings("ignore")
def test_wrong_options_are_told_with_the_users_line(place: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    told, bare = 0, []
    for make in made_by(place):
        for name, keywords in wrong_calls(make):
            try:
                make(**keywords)
            except Exception as error:
                said = f"{make.__name__}({name}={keywords[name]!r}): {type(error).__name__}: {error}"
                told += 1
                if len(LINE.findall(said)) != 1 or error.__cause__ is not None:
                    bare.append(said)
    assert told
    assert not bare, "\n".join(bare)
