"""`gradloom cache` tells what is on disk, and empties it."""

from pathlib import Path

import gradloom as gl
import numpy as np
import pytest
from gradloom.runtime.codegen import kernel_cache
from gradloom.tools.cli import main

Patch, Capture = pytest.MonkeyPatch, pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: Patch) -> Path:
    monkeypatch.setenv("GRADLOOM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("GRADLOOM_CACHE", raising=False)
    return tmp_path / "cache"


def test_the_cache_is_told_and_emptied(folder: Path, monkeypatch: Patch, capsys: Capture):
    monkeypatch.setattr(kernel_cache, "_kernels", {})
    gl.compile(np.tanh)(np.ones(3))
    (folder / "notes.txt").write_text("stays")
    count = len(list(folder.rglob("*.kernel")))
    assert main(["cache"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{count} kernels, ")
    assert told.endswith(f" in {folder}; the limit is 1.00 GB\n")
    assert main(["cache", "--clear"]) == 0
    assert capsys.readouterr().out.startswith(f"deleted {count} kernels, ")
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert main(["cache"]) == 0
    assert capsys.readouterr().out.startswith("0 kernels, 0 B, in ")


def test_the_limit_is_told(folder: Path, monkeypatch: Patch, capsys: Capture):
    monkeypatch.setenv("GRADLOOM_CACHE_LIMIT", "64 MiB")
    main(["cache"])
    assert "the limit is 67.11 MB" in capsys.readouterr().out


def test_a_cache_that_is_off_says_why(folder: Path, monkeypatch: Patch, capsys: Capture):
    monkeypatch.setenv("GRADLOOM_CACHE", "0")
    for arguments, said in (([], "cache off: "), (["--clear"], "nothing to clear: cache off: ")):
        assert main(["cache", *arguments]) == 0
        assert capsys.readouterr().out == f"{said}GRADLOOM_CACHE=0\n"
