"""The wheel and the source distribution hold what they should, and install."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_wheel_holds_code_data_and_types_and_no_tests(built: Any) -> None:
    names = set(zipfile.ZipFile(built.wheel).namelist())
    for name in (
        "gradloom/py.typed",
        "gradloom/tools/data/digits.csv.gz",
        "gradloom/engine/report/page/page.html",
        "gradloom/examples/lecture/optimizers.py",
        "gradloom/nn/functional.py",
        "gradloom_command.py",
        f"gradloom-{VERSION}.dist-info/licenses/LICENSE",
    ):
        assert name in names, name
    tops = {name.split("/")[0] for name in names}
    assert tops == {"gradloom", "gradloom_command.py", f"gradloom-{VERSION}.dist-info"}
    assert not any("tests/" in name or "/faces/" in name or "__pycache__" in name for name in names)
    ours = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("*/**/*.py")}
    floors = ("ir", "passes", "runtime", "engine", "tools")
    floors = {
        f"gradloom/{name}" for name in ours if name.split("/")[0] in ("ir", "passes", "runtime", "engine", "tools")
    }
    assert floors <= names


def test_the_source_distribution_holds_what_the_wheel_is_built_of(built: Any) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "py.typed", "gradloom_command.py", "__main__.py"} <= names
    assert "tools/data/digits.csv.gz" in names
    assert "faces/nn/functional.py" in names


def test_the_wheel_installs_and_runs_elsewhere(built: Any, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "--target", str(tmp_path / "site"), str(built.wheel)], check=True)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import gradloom as gl, gradloom.nn.functional as F, gradloom.numpy.linalg\n"
        "from gradloom.optim.schedules import Cosine\n"
        "assert gl.__file__.startswith(sys.argv[1]), gl.__file__\n"
        "assert F is gl.nn.functional and Cosine is gl.optim.Cosine\n"
        "from gradloom.tools.data import load_digits\n"
        "assert len(load_digits()[0])\n"
        "print(gl.__version__)\n"
    )
    command = [sys.executable, "-I", "-c", program, str(tmp_path / "site")]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == VERSION
