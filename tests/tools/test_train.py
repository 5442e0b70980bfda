"""`gradloom train` learns, shows it, and goes on after an interruption as if there had been none."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom.engine.saving.checkpoint_file import arrays_and_metadata
from gradloom.tools.cli import main
from gradloom.tools.recipes import RECIPES

MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist.npz"

DIGITS = "gradloom-digits.safetensors"

USERS_RECIPES = """
import gradloom as gl
import numpy as np

def loss_fn(model, batch):
    error = model(batch["x"])[:, 0] - batch["y"]
    return gl.numpy.mean(error * error), {"off": gl.numpy.mean(gl.numpy.abs(error)), "errors": error}

def with_arrays():
    x = np.random.default_rng(0).standard_normal((50, 3)).astype("float32")
    return gl.nn.Linear(3, 1), loss_fn, gl.optim.SGD(0.1), {"x": x, "y": x @ np.float32([1, 2, 3])}

def with_specs():
    return gl.nn.Linear(3, 1), loss_fn, gl.optim.SGD(0.1), {"x": gl.spec((50, 3)), "y": gl.spec((50,))}

def mixed():
    return gl.nn.Linear(3, 1), loss_fn, gl.optim.SGD(0.1), {"x": np.zeros((50, 3), "float32"), "y": gl.spec((50,))}

def uneven():
    batch = {"x": np.zeros((50, 3), "float32"), "y": np.zeros(49, "float32")}
    return gl.nn.Linear(3, 1), loss_fn, gl.optim.SGD(0.1), batch

def validates_text():
    return (*with_arrays(), "text")

def validates_none():
    batch = with_arrays()[-1]
    return (*with_arrays(), {name: array[:0] for name, array in batch.items()})

def metric_by_name():
    return (*with_arrays(), with_arrays()[-1], ["accuracy"])

def metric_of_no_number():
    return (*with_arrays(), with_arrays()[-1], lambda model, batch: None)

def validates():
    x = np.ones((50, 3), "float32")
    return (*with_arrays(), {"x": x, "y": -x[:, 0]}, gl.metrics.mean_absolute_error)

def seven():
    return (*with_arrays(), 1, 2, 3)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "recipes.py").write_text(USERS_RECIPES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def interrupt_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes Ctrl-C happen when so many more steps are done."""

    def plant(steps: int) -> None:
        original, left = gl.Step.__call__, [steps]

        def call(self: gl.Step, batch: Any) -> Any:
            result = original(self, batch)
            left[0] -= 1
            if not left[0]:
                monkeypatch.setattr(gl.Step, "__call__", original)
                signal.raise_signal(signal.SIGINT)
            return result

        monkeypatch.setattr(gl.Step, "__call__", call)

    return plant


def assert_same_bits(first: str, second: str) -> None:
    (arrays, metadata), (others, other_metadata) = arrays_and_metadata(first), arrays_and_metadata(second)
    assert metadata == other_metadata
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        assert array.dtype == others[name].dtype, name
        assert array.tobytes() == others[name].tobytes(), name


def test_by_itself_it_trains_digits_to_97_percent(capsys: pytest.CaptureFixture[str]):
    assert main(["train"]) == 0
    out, err = capsys.readouterr()
    assert not err
    assert re.search(r"^total .* allocated exactly$", out, re.MULTILINE)
    epochs = re.findall(
        r"^epoch (\d+)/40  loss \d\.\d{4}  accuracy [01]\.\d{4}  [\d,]+ steps/s  "
        r"val_loss \d\.\d{4}  val_accuracy [01]\.\d{4}$",
        out,
        re.MULTILINE,
    )
    assert epochs == [str(i) for i in range(1, 41)]
    assert out.endswith(f"saved {DIGITS}\n")
    accuracy = re.findall(r"^val_loss \S+  val_accuracy (\S+)$", out, re.MULTILINE)
    assert len(accuracy) == 1
    assert float(accuracy[0]) >= 0.97
    arrays, _ = arrays_and_metadata(DIGITS)
    assert arrays["0.weight"].shape == (128, 64)
    assert arrays[".optimizer.step"] == 40 * 45


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.is_file(), reason=f"{MNIST} is not there")
def test_mnist_reaches_98_percent(capsys: pytest.CaptureFixture[str]):
    assert main(["train", "mnist", "--data", str(MNIST)]) == 0
    accuracy = re.findall(r"^val_loss \S+  val_accuracy (\S+)$", capsys.readouterr().out, re.MULTILINE)
    assert float(accuracy[0]) >= 0.98


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.is_file(), reason=f"{MNIST} is not there")
def test_a_residual_network_reaches_992_of_1000_digits_of_mnist(capsys: pytest.CaptureFixture[str]):
    assert main(["train", "resnet", "--data", str(MNIST)]) == 0
    accuracy = re.findall(r"^val_loss \S+  val_accuracy (\S+)$", capsys.readouterr().out, re.MULTILINE)
    assert float(accuracy[0]) >= 0.992


def test_a_residual_network_trains_from_a_file_along_one_cycle_of_the_rate(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 2, 64).astype(np.uint8)
    images = np.where(classes[:, None, None] == 1, 255, 0).astype(np.uint8) * np.ones((1, 28, 28), np.uint8)
    np.savez(folder / "m.npz", x_train=images, y_train=classes, x_test=images, y_test=classes)
    assert main(["train", "resnet", "--data", "m.npz", "--epochs", "3", "--batch-size", "8", "--threads", "2"]) == 0
    assert "val_accuracy 1.0000\nsaved gradloom-resnet.safetensors" in capsys.readouterr().out
    arrays, _ = arrays_and_metadata("gradloom-resnet.safetensors")
    assert arrays["1.1.num_batches_tracked"] == arrays[".optimizer.step"] == 24


def test_under_a_budget_it_is_tested_in_smaller_batches(capsys: pytest.CaptureFixture[str]):
    assert main(["train", "--epochs", "2", "--threads", "1", "--out", "free.safetensors"]) == 0
    free = capsys.readouterr().out
    assert main(["train", "--epochs", "2", "--threads", "1", "--memory", "380kB"]) == 0
    told = re.findall(r"^val_loss .*$", capsys.readouterr().out, re.MULTILINE)
    assert told == re.findall(r"^val_loss .*$", free, re.MULTILINE)
    for name, array in arrays_and_metadata("free.safetensors")[0].items():
        assert array.tobytes() == arrays_and_metadata(DIGITS)[0][name].tobytes()


def test_mnist_trains_from_a_file(folder: Path, capsys: pytest.CaptureFixture[str]):
    images, classes = np.zeros((256, 28, 28), np.uint8), np.zeros(256, np.uint8)
    np.savez(folder / "m.npz", x_train=images, y_train=classes, x_test=images, y_test=classes)
    assert main(["train", "mnist", "--data", "m.npz", "--epochs", "2"]) == 0
    assert "val_accuracy 1.0000\nsaved gradloom-mnist.safetensors" in capsys.readouterr().out


# 45 steps are an epoch: within the first and a later epoch, after its first step, and when an epoch has just ended.
@pytest.mark.parametrize("steps", [1, 17, 45, 46, 100])
def test_an_interrupted_run_goes_on_to_the_same_bits(
    steps: int, interrupt_after: Callable[[int], None], capsys: pytest.CaptureFixture[str]
):
    assert main(["train", "--epochs", "3", "--out", "whole.safetensors"]) == 0
    interrupt_after(steps)
    assert main(["train", "--epochs", "3", "--out", "parts.safetensors"]) == 130
    epoch, place = divmod(steps, 45)
    out = capsys.readouterr().out
    assert f"interrupted in epoch {epoch + 1}, after {place} of 45 steps\nsaved parts.safetensors" in out
    assert arrays_and_metadata("parts.safetensors")[0][".optimizer.step"] == steps
    assert main(["train", "--resume", "parts.safetensors"]) == 0
    assert_same_bits("whole.safetensors", "parts.safetensors")


@pytest.mark.parametrize(
    "options", [["--optimizer", "momentum", "--lr", "0.03"], ["--optimizer", "sgd"], ["--seed", "7"]]
)
def test_a_run_keeps_its_options_and_is_interrupted_twice(options: list[str], interrupt_after: Callable[[int], None]):
    options = [*options, "--epochs", "4", "--batch-size", "100"]
    assert main(["train", *options, "--out", "whole.safetensors"]) == 0
    interrupt_after(5)
    assert main(["train", *options]) == 130
    interrupt_after(20)
    assert main(["train", "--resume", DIGITS, "--threads", "1"]) == 130
    assert main(["train", "--resume", DIGITS]) == 0
    assert_same_bits("whole.safetensors", DIGITS)


def test_a_run_goes_on_with_more_epochs_and_another_rate(capsys: pytest.CaptureFixture[str]):
    assert main(["train", "--epochs", "2"]) == 0
    first = arrays_and_metadata(DIGITS)[0]
    assert main(["train", "--resume", DIGITS]) == 0
    assert capsys.readouterr().out.endswith("nothing to do: 2 epochs are done; --epochs with a larger number goes on\n")
    assert main(["train", "--resume", DIGITS, "--epochs", "3", "--out", "three.safetensors"]) == 0
    assert main(["train", "--epochs", "3", "--out", "whole.safetensors"]) == 0
    assert_same_bits("whole.safetensors", "three.safetensors")
    assert main(["train", "--resume", DIGITS, "--epochs", "3", "--lr", "0"]) == 0
    last = arrays_and_metadata(DIGITS)[0]
    assert last[".optimizer.step"] == 3 * 45
    assert np.array_equal(first["0.weight"], last["0.weight"])


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
def test_every_optimizer_learns(optimizer: str, threads: str, capsys: pytest.CaptureFixture[str]):
    assert main(["train", "--optimizer", optimizer, "--epochs", "5", "--threads", threads]) == 0
    accuracy = re.findall(r"^val_loss \S+  val_accuracy (\S+)$", capsys.readouterr().out, re.MULTILINE)
    assert float(accuracy[0]) > 0.9


def test_a_run_keeps_how_its_loss_is_scaled(capsys: pytest.CaptureFixture[str]):
    options = ["--precision", "parameters=bf16,moments=fp16", "--loss-scaling", "64"]
    assert main(["train", "digits", "--epochs", "1", *options, "--out", "run.safetensors"]) == 0
    assert "parameters=bf16" in capsys.readouterr().out
    assert main(["train", "--resume", "run.safetensors", "--epochs", "2"]) == 0
    assert "moments=fp16" in capsys.readouterr().out
    assert main(["train", "--resume", "run.safetensors", "--epochs", "3", "--loss-scaling", "8"]) == 2
    assert "it cannot go on with --loss-scaling 8" in capsys.readouterr().err
    for recipe in ("digits", "gpt"):
        assert main(["train", recipe, "--allow", "bf16"]) == 2
        assert "--allow bf16 is for a budget; give --memory too" in capsys.readouterr().err


def test_a_run_keeps_its_precision(capsys: pytest.CaptureFixture[str]):
    assert main(["train", "digits", "--epochs", "1", "--precision", "bf16", "--out", "run.safetensors"]) == 0
    assert "precision " in capsys.readouterr().out
    assert main(["train", "--resume", "run.safetensors", "--epochs", "2"]) == 0
    assert "precision " in capsys.readouterr().out
    assert main(["train", "--resume", "run.safetensors", "--epochs", "3", "--precision", "fp32"]) == 2
    assert "it cannot go on with --precision fp32" in capsys.readouterr().err


def test_a_recipe_with_arrays_trains_on_them(capsys: pytest.CaptureFixture[str]):
    options = ["--epochs", "60", "--batch-size", "10", "--out", "line.safetensors"]
    assert main(["train", "recipes.py:with_arrays", *options]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^epoch 60/60  loss 0\.0000  off 0\.000\d  [\d,]+ steps/s$", out, re.MULTILINE)
    arrays, _ = arrays_and_metadata("line.safetensors")
    np.testing.assert_allclose(arrays["weight"], [[1, 2, 3]], atol=1e-4)
    assert arrays[".optimizer.step"] == 300
    assert main(["train", "recipes.py:with_arrays", "--epochs", "3"]) == 0
    assert arrays_and_metadata("gradloom-with_arrays.safetensors")[0][".optimizer.step"] == 3


def test_a_recipe_with_specs_trains_on_random_data(interrupt_after: Callable[[int], None]):
    assert main(["train", "recipes.py:with_specs", "--epochs", "2", "--out", "whole.safetensors"]) == 0
    assert arrays_and_metadata("whole.safetensors")[0][".optimizer.step"] == 200
    interrupt_after(130)
    assert main(["train", "recipes.py:with_specs", "--epochs", "2", "--out", "parts.safetensors"]) == 130
    assert main(["train", "recipes.py:with_specs", "--resume", "parts.safetensors"]) == 0
    assert_same_bits("whole.safetensors", "parts.safetensors")


def test_a_file_that_no_run_wrote_gives_the_parameters(folder: Path):
    model, loss_fn, optimizer, batch = RECIPES["digits"]()
    step = gl.compile_step(model, loss_fn, optimizer, batch, seed=5)
    step.learning_rate = 0.5
    step.save("mine.safetensors")
    assert (
        main(["train", "--resume", "mine.safetensors", "--lr", "0", "--epochs", "1", "--out", "new.safetensors"]) == 0
    )
    assert np.array_equal(arrays_and_metadata("new.safetensors")[0]["0.weight"], step.parameters()["0.weight"])


def test_a_run_stops_early_is_logged_and_drawn_and_says_why_it_does_not_go_on(capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("matplotlib")
    files = ["--log", "run.csv", "--plot", "run.svg", "--out", "run.safetensors"]
    recipe = "recipes.py:validates"
    assert main(["train", recipe, "--epochs", "9", "--batch-size", "10", "--lr", "0", "--early-stop", "1", *files]) == 0
    why = "no better val_loss for 1 epoch; the best was "
    out = capsys.readouterr().out
    assert f"stopped: {why}" in out
    assert "val_mean_absolute_error" in out
    lines = Path("run.csv").read_text().splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("val_loss,val_mean_absolute_error")
    assert Path("run.svg").read_text().rstrip().endswith("</svg>")
    assert main(["train", recipe, "--resume", "run.safetensors", "--epochs", "20"]) == 0
    assert f"nothing to do: {why}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume", "none.safetensors"], "cannot load none.safetensors: there is no such file"),
        (["--resume", "cut.safetensors"], "it is cut off, damaged or no safetensors file"),
        (["recipes.py:with_specs", "--resume", DIGITS], "do not fit the model"),
        (["--resume", DIGITS, "--seed", "1"], "began with --seed 0; it cannot go on with --seed 1"),
        (["--resume", DIGITS, "--batch-size", "8"], "began without --batch-size; it cannot go on with --batch-size 8"),
        (["--resume", DIGITS, "--optimizer", "sgd"], "began without --optimizer; it cannot"),
        (["--resume", "strange.safetensors"], "does not say how it was trained"),
        (["--memory", "100kB"], "the budget is 100,000"),
        (["--out", "nowhere/x.safetensors"], "there is no folder nowhere"),
        (["--data", "m.npz"], "--data goes with the recipes mnist and resnet"),
        (["mnist"], "mnist needs --data"),
        (["resnet"], "resnet needs --data"),
        (["mnist", "--data", "none.npz"], "none.npz: there is no such file"),
        (["--batch-size", "1443"], "--batch-size 1443 is more than the 1442 examples"),
        (["recipes.py:mixed"], "must hold arrays, or specs, and nothing else"),
        (["recipes.py:uneven"], "the same number of examples"),
        (["nothing"], "there is no recipe 'nothing'"),
        (
            ["recipes.py:validates_text"],
            "the validation data and metrics of the recipe recipes.py:validates_text: data is",
        ),
        (["recipes.py:validates_none"], "the arrays hold no examples"),
        (["recipes.py:metric_by_name"], "a metric is a function (model, batch)"),
        (["recipes.py:metric_of_no_number"], "is of type NoneType; return a number"),
        (["recipes.py:seven"], "got a tuple of 7; validation data and metrics may follow"),
        (["recipes.py:with_arrays", "--optimizer", "muon"], "bias: Muon is for matrices"),
        (
            ["recipes.py:with_arrays", "--log", "nowhere/x.csv"],
            "cannot write nowhere/x.csv: there is no folder nowhere",
        ),
        (["recipes.py:with_arrays", "--log", "x.txt"], "--log is a file that ends in .csv or .jsonl, got x.txt"),
    ],
)
def test_what_cannot_be_done_is_one_error(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    if DIGITS in arguments:
        assert main(["train", "--epochs", "1"]) == 0
    Path("cut.safetensors").write_bytes(b"\x80\0\0\0\0\0\0\0{")
    gl.compile_step(gl.nn.Linear(1, 1), lambda m, x: m(x).sum(), gl.optim.SGD(0.1), gl.spec((1, 1))).save(
        "strange.safetensors", {"training": '{"epochs": "many"}'}
    )
    capsys.readouterr()
    before = {path: path.read_bytes() for path in Path().glob("*.safetensors")}
    assert main(["train", *arguments]) == 2
    out, err = capsys.readouterr()
    assert "epoch" not in out
    assert message in err
    assert err.startswith("gradloom: ")
    assert "Traceback" not in err
    assert {path: path.read_bytes() for path in Path().glob("*.safetensors")} == before


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    assert main(["train", "--epochs", "2"]) == 0
    out = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    assert re.search(r"epoch 2/2 ━+ 100% 00:00 loss \d\.\d{4}  accuracy [01]\.\d{4}  [\d,]+ steps/s  val_loss", out)
    assert f"saved {DIGITS}" in out


def test_on_a_terminal_that_cannot_move_its_cursor_each_epoch_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    assert main(["train", "--epochs", "2"]) == 0
    assert re.findall(r"^epoch \d/2", capsys.readouterr().out, re.MULTILINE) == ["epoch 1/2", "epoch 2/2"]
