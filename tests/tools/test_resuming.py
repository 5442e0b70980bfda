"""A run goes on as it began, or says what differs; no file makes it run anything, and no failing disk ends it."""

from __future__ import annotations

import itertools
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom.engine.fit import saves
from gradloom.engine.saving.checkpoint_file import CheckpointError, arrays_and_metadata, save_arrays
from gradloom.tools.cli import main
from gradloom.tools.recipes import RECIPES
from gradloom.tools.train import Run

RECIPE = """
from pathlib import Path
import gradloom as gl
import numpy as np

Path("was_run").touch()

def loss_fn(model, batch):
    return gl.nn.mse_loss(model(batch["x"]), batch["y"])

def line():
    Path("was_called").touch()
    x = np.random.default_rng(0).standard_normal((50, 3)).astype("float32")
    batch = {"x": x, "y": x @ np.ones((3, 1), "float32")}
    return gl.nn.Linear(3, 1), loss_fn, gl.optim.SGD(gl.optim.schedules.OneCycle(0.1, 100), momentum=0.9), batch

class Images(gl.nn.Module):
    def __init__(self):
        self.one, self.two = gl.nn.Conv2d(3, 16, 3, padding=1), gl.nn.Conv2d(16, 16, 3, padding=1)
        self.out = gl.nn.Linear(16, 40)

    def forward(self, x):
        relu = gl.nn.functional.relu
        return self.out(relu(self.two(relu(self.one(x)))).mean(axis=(2, 3)))

def images():
    def loss_fn(model, batch):
        return gl.nn.cross_entropy(model(batch["x"]), batch["y"])
    return Images(), loss_fn, gl.optim.SGD(0.1), {"x": gl.spec((8, 3, 8, 8)), "y": gl.spec((8,), "int64")}

def random():
    return gl.nn.Linear(3, 1), loss_fn, gl.optim.SGD(0.1), {"x": gl.spec((8, 3)), "y": gl.spec((8, 1))}
"""

OUT = "c.safetensors"
OURS = ["train", "my.py:line", "--epochs", "4", "--batch-size", "5", "--out", OUT]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my.py").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.fixture
def after_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Does something when so many more steps are done."""

    def plant(steps: int, action: Callable[[], None]) -> None:
        original, left = gl.Step.__call__, [steps]

        def call(self: gl.Step, batch: Any) -> Any:
            result = original(self, batch)
            left[0] -= 1
            if not left[0]:
                monkeypatch.setattr(gl.Step, "__call__", original)
                action()
            return result

        monkeypatch.setattr(gl.Step, "__call__", call)

    return plant


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def metadata_of(path: str) -> dict[str, Any]:
    return json.loads(arrays_and_metadata(path)[1]["training"])


def with_metadata(path: str, text: str) -> None:
    arrays, metadata = arrays_and_metadata(path)
    save_arrays(path, arrays, {**metadata, "training": text})


# ---- what a file names


@pytest.mark.parametrize(
    "recipe",
    [
        "my.py:line",
        "./my.py:line",
        "{folder}/my.py:line",
        "my:line",
        "http.server:test",
        "os:getcwd",
        "gradloom.tools.cli:main",
        "gradloom.tools.recipes.digits:digits",
        "gradloom.tools.recipes:digits",
        "digits ",
        "Digits",
        "",
        ":",
        "\x1b[31mdigits",
        "x" * 10_000,
    ],
)
def test_a_recipe_is_not_run_because_a_file_names_it(recipe: str, folder: Path, capsys: pytest.CaptureFixture[str]):
    settings = {"recipe": recipe.format(folder=folder), "epochs": 3, "batch_size": None, "optimizer": None}
    save_arrays(OUT, {"w": np.zeros(3)}, {"training": json.dumps({**settings, "lr": None, "seed": 0})})
    assert main(["train", "--resume", OUT]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "does not come with Gradloom; what a file names is not run" in err
    assert "gradloom train RECIPE --resume c.safetensors" in err
    assert "\x1b" not in err
    assert len(err) < 1000
    assert not Path("was_run").exists()


def test_a_run_that_early_stopping_ended_goes_on_with_a_larger_number(capsys: pytest.CaptureFixture[str]):
    assert main(["train", "my.py:line", "--lr", "0", "--early-stop", "1", "--epochs", "5", "--out", OUT]) == 0
    assert "stopped: no better" in capsys.readouterr().out
    again = ["train", "my.py:line", "--resume", OUT]
    assert main(again) == 0
    assert "--early-stop with a larger number goes on" in capsys.readouterr().out
    assert main([*again, "--early-stop", "3"]) == 0
    out = capsys.readouterr().out
    assert "epoch 4/5" in out
    assert "for 3 epochs" in out


def test_a_recipe_that_is_named_again_goes_on_to_the_same_bits(
    folder: Path, after_step: Callable[..., None], capsys: pytest.CaptureFixture[str]
):
    assert main([*OURS[:-1], "whole.safetensors"]) == 0
    after_step(13, interrupt)
    assert main(OURS) == 130
    told = capsys.readouterr().out.strip().rpartition("to go on: ")[2]
    assert told == f"gradloom train my.py:line --resume {OUT}"
    assert main(["train", "--resume", OUT]) == 2
    for spelling in ("my.py:line", f"{folder}/my.py:line"):
        Path("again.safetensors").write_bytes(Path(OUT).read_bytes())
        capsys.readouterr()
        assert main(["train", spelling, "--resume", "again.safetensors"]) == 0
        assert ("note: the run began with the recipe 'my.py:line'" in capsys.readouterr().out) == (spelling[0] == "/")
        assert arrays_and_metadata("again.safetensors")[0].keys() == arrays_and_metadata("whole.safetensors")[0].keys()
        for name, array in arrays_and_metadata("whole.safetensors")[0].items():
            assert array.tobytes() == arrays_and_metadata("again.safetensors")[0][name].tobytes()
    assert main(shlex.split(told)[1:]) == 0
    assert Path(OUT).read_bytes() == Path("whole.safetensors").read_bytes()


def test_a_recipe_whose_code_or_data_changed_goes_on_and_says_so(
    after_step: Callable[..., None], capsys: pytest.CaptureFixture[str]
):
    after_step(7, interrupt)
    assert main(OURS) == 130
    kept = Path(OUT).read_bytes()
    for old, new, word in (
        ("gl.nn.mse_loss(", "3 * gl.nn.mse_loss(", "note: the step is another than the run began with"),
        ("default_rng(0)", "default_rng(1)", "note: the examples are others than those that the run began with"),
        ("momentum=0.9", "momentum=0.5", "SGD's momentum: 0.9 before, 0.5 now"),
        ("OneCycle(0.1", "OneCycle(0.2", "the learning rate: OneCycle(lr=0.1, steps=40, "),
        ("import numpy as np", "import numpy as np\n\n# further down", ""),
    ):
        Path("my.py").write_text(RECIPE.replace(old, new))
        Path(OUT).write_bytes(kept)
        capsys.readouterr()
        assert main(["train", "my.py:line", "--resume", OUT]) == 0
        out = capsys.readouterr().out
        assert word in out
        assert ("note: " in out) == bool(word)
    Path("my.py").write_text(RECIPE)
    Path(OUT).write_bytes(kept)
    capsys.readouterr()
    assert main(["train", "my.py:line", "--resume", OUT, "--epochs", "8"]) == 0
    assert "OneCycle(lr=0.1, steps=80" in capsys.readouterr().out


def test_the_budget_is_kept(after_step: Callable[..., None], capsys: pytest.CaptureFixture[str]):
    options = ["train", "my.py:images", "--epochs", "1", "--memory", "60%", "--threads", "1", "--out"]
    assert main([*options, "whole.safetensors"]) == 0
    assert "runs in tiles of 2 entries" in capsys.readouterr().out
    after_step(20, interrupt)
    assert main([*options, OUT]) == 130
    assert metadata_of(OUT)["memory"] == "60%"
    kept = Path(OUT).read_bytes()
    capsys.readouterr()
    assert main(["train", "my.py:images", "--resume", OUT, "--threads", "1"]) == 0
    assert "note:" not in capsys.readouterr().out
    assert Path(OUT).read_bytes() == Path("whole.safetensors").read_bytes()
    Path(OUT).write_bytes(kept)
    assert main(["train", "my.py:images", "--resume", OUT, "--memory", "95%", "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert "note: c.safetensors was made with other settings" in out
    assert "the plan: runs in tiles of 2 entries" in out


def test_data_of_another_file_are_refused(after_step: Callable[..., None], capsys: pytest.CaptureFixture[str]):
    images, classes = np.zeros((256, 28, 28), np.uint8), np.zeros(256, np.uint8)
    for name, more in (("one.npz", 0), ("same.npz", 0), ("other.npz", 1)):
        np.savez(name, x_train=images + np.uint8(more), y_train=classes, x_test=images, y_test=classes)
    after_step(3, interrupt)
    assert main(["train", "mnist", "--data", "one.npz", "--epochs", "3", "--out", OUT]) == 130
    words = shlex.split(capsys.readouterr().out.strip().rpartition("to go on: ")[2])
    assert words == ["gradloom", "train", "--data", "one.npz", "--resume", OUT]
    assert main(["train", "--resume", OUT]) == 2
    assert "mnist needs --data" in capsys.readouterr().err
    assert main(["train", "--resume", OUT, "--data", "other.npz"]) == 2
    assert f"{OUT} was trained with other data" in capsys.readouterr().err
    assert main(["train", "--resume", OUT, "--data", "same.npz"]) == 0


GOOD = {"recipe": "digits", "epochs": 1, "batch_size": None, "optimizer": None, "lr": None, "seed": 0}


@pytest.mark.parametrize(
    "text",
    [
        *(
            json.dumps({**GOOD, name: value})
            for name, value in (
                ("epochs", 0),
                ("epochs", -1),
                ("epochs", True),
                ("epochs", 1.0),
                ("epochs", None),
                ("epochs", 10**20),
                ("lr", float("nan")),
                ("lr", float("inf")),
                ("lr", -1.0),
                ("lr", True),
                ("lr", "1"),
                ("seed", -1),
                ("seed", None),
                ("batch_size", 0),
                ("batch_size", -5),
                ("memory", "0"),
                ("memory", "0%"),
                ("memory", "lots"),
                ("memory", 5),
                ("optimizer", "tiger"),
                ("optimizer", ["sgd"]),
                ("recipe", ["digits"]),
                ("recipe", None),
                ("data", 5),
                ("module", "os"),
            )
        ),
        "[]",
        "null",
        '{"epochs": 3}',
        "{",
        "[" * 100_000,
        "x" * 100_000,
        "",
    ],
)
def test_settings_that_no_run_writes_are_one_error(text: str, capsys: pytest.CaptureFixture[str]):
    gl.compile_step(*RECIPES["digits"]()).save(OUT, {"training": text})
    before = Path(OUT).read_bytes()
    assert main(["train", "--resume", OUT]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"gradloom: {OUT} ")
    assert "does not say how it was trained" in err or "unknown optimizer" in err
    assert len(err) < 1000
    assert Path(OUT).read_bytes() == before


def test_what_is_printed_to_go_on_can_be_typed():
    for run, recipe in (
        (Run({}, "a b.txt", 3, None, None), None),
        (Run({}, None, None, None, None), "my recipes.py:it's"),
        (Run({}, "-x", 1, None, None), "gpt"),
    ):
        for out in ("a b", "-out", "$(rm x)", "'"):
            words = shlex.split(run.command_to_go_on(out, recipe))
            assert words[:2] == ["gradloom", "train"]
            options = dict(itertools.pairwise(words))
            options |= dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
            assert options["--resume"] == out
            assert options.get("--data") == run.data
            assert (recipe is None) or words[2] == recipe


# ---- saving


def test_a_place_that_cannot_be_written_is_found_before_anything_else(folder: Path, capsys: pytest.CaptureFixture[str]):
    Path("a_folder").mkdir()
    for out, word in (("a_folder", "directory"), ("/dev/null", "no regular file"), ("x" * 300, "too long")):
        assert main(["train", "my.py:line", "--out", out]) == 2
        assert word in capsys.readouterr().err
    assert not Path("was_run").exists()
    code = (
        "import resource, sys\nfrom gradloom.tools.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\nsys.exit(main(['train']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 2
    assert "cannot write gradloom-digits.safetensors: File too large" in done.stderr
    assert "epoch" not in done.stdout
    assert not list(Path().glob("*digits*"))


def failing(monkeypatch: pytest.MonkeyPatch, fails: Callable[[int], bool]) -> list[int]:
    """Saves fail, by their number; the steps at which they were tried."""
    original, tried = gl.Step.save, list[int]()

    def save(self: gl.Step, *args: Any) -> None:
        tried.append(self.steps)
        if fails(len(tried)):
            raise CheckpointError("could not save: No space left on device")
        original(self, *args)

    monkeypatch.setattr(gl.Step, "save", save)
    monkeypatch.setattr(saves, "_LAST_PAUSE_SECONDS", 0.0)
    return tried


def test_a_save_that_fails_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert main([*OURS[:-1], "whole.safetensors"]) == 0
    monkeypatch.setattr(saves, "_RETRY_SECONDS", 0.0)
    tried = failing(monkeypatch, lambda number: number in (1, 2, 3))
    capsys.readouterr()
    assert main(OURS) == 0
    out = capsys.readouterr().out
    assert out.count("No space left on device; the run goes on, and tries again") == 3
    assert tried == [10, 11, 12, 13, 20, 30, 40]
    assert Path(OUT).read_bytes() == Path("whole.safetensors").read_bytes()


def test_where_no_save_succeeds_nothing_says_that_one_did(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], after_step: Callable[..., None]
):
    tried = failing(monkeypatch, lambda number: True)
    assert main(OURS) == 2
    out, err = capsys.readouterr()
    assert "saved" not in out
    assert err == "gradloom: could not save: No space left on device\n"
    assert tried == [10, 20, 30, 40, 40, 40]
    after_step(5, interrupt)
    assert main(OURS) == 2
    out, err = capsys.readouterr()
    assert "saved" not in out + err
    assert not Path(OUT).exists()


def test_a_checkpoint_comes_by_time_too(monkeypatch: pytest.MonkeyPatch, after_step: Callable[..., None]):
    tried = failing(monkeypatch, lambda number: False)
    monkeypatch.setattr(saves, "SECONDS", 0.0)
    assert main(OURS) == 0
    # After each step, and once more where an epoch has ended, whose figures are new.
    assert tried == sorted([*range(1, 41), 10, 20, 30, 40])
    monkeypatch.setattr(saves, "SECONDS", 1e9)
    tried.clear()
    assert main(OURS) == 0
    assert tried == [10, 20, 30, 40]


def test_an_error_within_a_run_keeps_what_was_trained(after_step: Callable[..., None]):
    def fail() -> None:
        raise ZeroDivisionError("of the recipe")

    after_step(17, fail)
    with pytest.raises(ZeroDivisionError) as error:
        main(OURS)
    assert error.value.__notes__ == [f"what was trained was saved in {OUT}"]
    assert arrays_and_metadata(OUT)[0][".optimizer.step"] == 17


@pytest.mark.parametrize("where", ["compile_step", "make_recipe", "training_data"])
def test_an_interruption_before_the_first_step_saves_nothing(
    where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    Path(OUT).write_bytes(b"of another run")
    monkeypatch.setattr(f"gradloom.tools.train.{where}", lambda *args, **options: interrupt())
    assert main(OURS) == 130
    out, err = capsys.readouterr()
    assert "saved" not in out + err
    assert "interrupted" in err
    assert Path(OUT).read_bytes() == b"of another run"


def test_an_interruption_of_the_first_step_saves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    Path(OUT).write_bytes(b"of another run")

    def interrupted(self: gl.Step, batch: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(gl.Step, "__call__", interrupted)
    assert main(OURS) == 130
    assert "interrupted before a step was done; nothing was saved" in capsys.readouterr().out
    assert Path(OUT).read_bytes() == b"of another run"


def test_a_file_that_is_replaced_while_the_step_is_compiled_is_not_taken_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert main(["train", "--epochs", "1", "--out", OUT]) == 0
    original = gl.Step.load

    def load(self: gl.Step, path: str) -> dict[str, str]:
        with_metadata(OUT, json.dumps({**metadata_of(OUT), "seed": 5}))
        return original(self, path)

    monkeypatch.setattr(gl.Step, "load", load)
    assert main(["train", "--resume", OUT, "--epochs", "2"]) == 2
    assert f"{OUT} was replaced while the step was compiled" in capsys.readouterr().err


def test_equal_runs_write_equal_bytes():
    for out in ("one", "two"):
        assert main(["train", "my.py:random", "--epochs", "1", "--out", out]) == 0
    assert Path("one").read_bytes() == Path("two").read_bytes()


def test_a_run_goes_on_with_the_cores_that_its_steps_are_cut_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = str(tmp_path / "run.safetensors")
    assert main(["train", "--epochs", "1", "--cores", "12", "--threads", "2", "--out", out]) == 0
    assert main(["train", "--resume", out, "--epochs", "2", "--threads", "1"]) == 0
    assert ", cut for 12 cores" in capsys.readouterr().out.rpartition("runs in ")[2]
