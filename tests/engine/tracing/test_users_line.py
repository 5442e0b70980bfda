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


# Wrong options of functions.

MODEL = nn.Linear(4, 3)
BATCH = {"x": np.ones((8, 4), "float32"), "y": np.arange(8) % 3}


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def compiled(**options: Any) -> gl.Step:
    return gl.compile_step(MODEL, loss_fn, gl.optim.SGD(0.1), BATCH, **options)


@pytest.fixture(scope="module")
def step() -> gl.Step:
    return compiled()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": "lots"}, "memory is a number of bytes or text such as '200MB'.* got 'lots'"),
        ({"memory": -5}, "memory is a number of bytes.* got -5"),
        ({"cores": 0}, "cores is a whole number from 1 to 256"),
        ({"threads": 0}, "threads is a whole number of 1 or more"),
        ({"accumulate": 0}, "accumulate is a whole number of 1 or more, got 0"),
        ({"seed": -1}, "a seed is 0 or more, and whole, got -1"),
        ({"precision": "fp8"}, "precision is .* got 'fp8'"),
        ({"shapes": "x"}, "shapes is 'any'.* got 'x'"),
        ({"train": "zz*"}, "the pattern 'zz.' fits no parameter"),
        ({"clip_norm": -1}, "clip_norm is a number above 0, got -1"),
        ({"clip_value": "a"}, "clip_value is a number above 0, got 'a'"),
        ({"target": "tpu"}, "target 'tpu' is not available"),
        ({"share": 3}, "share is a step of gl.compile_step"),
        ({"parts": 2}, "parts=2 is for a step with ranks"),
        ({"ranks": 2}, "ranks are those that take part in a step, got 2"),
        ({"host_memory": "8GB"}, "host_memory is for GPUs"),
        ({"memory": "1B"}, "the budget is 1 "),
    ],
)
def test_a_wrong_option_of_a_step_is_told_with_the_users_line(options: dict[str, Any], message: str):
    with pytest.raises((ValueError, TypeError, MemoryError), match=message) as caught:
        compiled(**options)
    assert LINE.search(str(caught.value).replace("\n ", "")), caught.value
    assert caught.value.__cause__ is None


CALLS: list[tuple[str, Callable[[gl.Step], Any]]] = [
    ("compile_step.. missing 1 required positional argument", lambda step: gl.compile_step(MODEL, loss_fn, 1)),
    ("a step takes its batch as one argument, got 2; write step", lambda step: step(x=1, y=2)),
    ("a step takes its batch as one argument, got 0; write step", lambda step: step()),
    ("epochs is a whole number", lambda step: gl.fit(step, BATCH, epochs=-1)),
    ("different numbers of examples", lambda step: gl.fit(step, {"x": BATCH["x"], "y": BATCH["y"][:3]}, epochs=1)),
    ("the path of a checkpoint is a str", lambda step: step.save(3)),
    ("could not save nowhere/a: No such file", lambda step: step.save("nowhere/a")),
    ("cannot load nowhere/a: there is no such file", lambda step: step.load("nowhere/a")),
    ("do not fit the model", lambda step: step.set_parameters({"weight": BATCH["x"]})),
    ("a learning rate is a number of 0 or more", lambda step: setattr(step, "learning_rate", -1)),
    ("step.bind takes a function", lambda step: step.bind(3)),
    ("data is a pytree of arrays", lambda step: gl.evaluate(step, 3)),
    ("the path of a file is a str", lambda step: gl.data.read_npy(3)),
    ("there is no such file", lambda step: gl.data.read_csv("nowhere.csv")),
    ("a part is a share between 0 and 1", lambda step: gl.data.split(BATCH, -0.5)),
    ("batch_size is at least 1, got 0", lambda step: gl.data.batches(BATCH, 0)),
    ("dtype 'float8' is not supported", lambda step: gl.spec(3, "float8")),
    ("dtype 'float8' is not supported", lambda step: gl.numpy.zeros(3, "float8")),
    ("dtype 'float8' is not supported", lambda step: gl.numpy.ones(3, dtype="float8")),
    ("np.eye: 'str' object cannot be interpreted", lambda step: gl.numpy.eye("three")),
    ("a shape has no negative lengths", lambda step: gl.spec((3, -1))),
    ("needs a key", lambda step: gl.random.normal(3)),
    ("timeout is a number of seconds above 0", lambda step: gl.ranks.mpi(timeout=-1)),
    ("grad takes a function", lambda step: gl.grad(3)),
    ("argnums 3 for a call with 1", lambda step: gl.grad(lambda x: x.sum(), argnums=3)(BATCH["x"])),
    ("has shape .* and no axis 9", lambda step: gl.vmap(lambda x: x, in_axes=9)(BATCH["x"])),
    ("checkpoint takes a function", lambda step: gl.checkpoint(3)),
    ("true_fun is a function", lambda step: gl.cond(True, 3, 4)),
    ("scan: f is a function", lambda step: gl.scan(3, 0.0, BATCH["x"])),
    ("threads is a whole number", lambda step: gl.compile(lambda x: x, threads=0)(BATCH["x"])),
    ("compile takes a function", lambda step: gl.compile(3)),
    ("there is no CPU target 'z80'", lambda step: gl.Target.cpu("z80")),
    ("the graph has 1 inputs, got 0 arrays", lambda step: gl.interpret(gl.trace(lambda x: x + 1, BATCH["x"]))),
]


@pytest.mark.parametrize(("message", "call"), CALLS, ids=[message for message, _ in CALLS])
def test_a_wrong_argument_of_a_function_is_told_with_the_users_line(
    message: str, call: Callable[[Any], Any], step: gl.Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=message) as caught:
        call(step)
    assert LINE.search(str(caught.value)), caught.value


def test_a_batch_that_is_too_short_is_told_what_it_has():
    with pytest.raises(IndexError) as caught:
        gl.compile_step(
            MODEL, lambda model, batch: nn.mse_loss(model(batch[0]), batch[1]), gl.optim.SGD(0.1), (BATCH["x"],)
        )
    assert caught.value.__notes__ == ["the batch is a tuple of length 1: float32 of (8, 4)"]


def test_warnings_of_a_step_stand_at_the_users_line():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    with pytest.warns(UserWarning, match="accumulate=2: batch norm at") as told:
        gl.plan_step(model, loss_fn, gl.optim.SGD(0.1), BATCH, accumulate=2)
    assert {Path(each.filename).name for each in told} == {"test_users_line.py"}


def test_an_array_that_outlived_its_trace_is_told_so():
    kept: list[Any] = []
    gl.compile(lambda x: kept.append(x * 2) or x)(BATCH["x"])
    with pytest.raises(
        gl.TracingError, match=r"float\(x\) needs the value of an array of a trace that has ended"
    ) as told:
        float(kept[0])
    assert LINE.search(str(told.value))


def test_an_array_in_place_of_a_parameter_is_named():
    class Plain(nn.Module):
        def __init__(self) -> None:
            self.weight = np.ones((4, 3), "float32")

        def forward(self, x: Any) -> Any:
            return x @ self.weight

    with pytest.raises(ValueError, match=r"nothing to train.* weight is an array; write nn.Parameter\(array\)") as told:
        gl.plan_step(Plain(), loss_fn, gl.optim.SGD(0.1), BATCH)
    assert LINE.search(str(told.value))
