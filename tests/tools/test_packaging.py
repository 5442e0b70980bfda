"""What is installed is what is here."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import gradloom
from gradloom.tools.data import load_digits

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NOT_PACKAGED = {"tests", "build", "dist", "docs", "faces"}
FACES = list((ROOT / "faces").rglob("__init__.py"))
NOT_IMPORTED = {"zoo"}
"""Folders of recipes that are named by their files."""


def folders_with_code() -> set[str]:
    found = {"gradloom"}
    for path in ROOT.rglob("*.py"):
        folders = path.parent.relative_to(ROOT).parts
        if not folders or folders[0] in NOT_PACKAGED or folders[-1] in NOT_IMPORTED:
            continue
        if not any(folder.startswith((".", "_")) for folder in folders):
            found.add(".".join(("gradloom", *folders)))
    return found


def test_every_folder_with_code_is_packaged():
    faces = {f"gradloom.{'.'.join(path.parent.relative_to(ROOT / 'faces').parts)}" for path in FACES}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == folders_with_code() | faces
    folders = PROJECT["tool"]["setuptools"]["package-dir"]
    assert all(folders["gradloom." + top.name] == f"faces/{top.name}" for top in (ROOT / "faces").iterdir())


def test_every_package_has_its_init_file():
    for package in folders_with_code():
        assert (ROOT.joinpath(*package.split(".")[1:]) / "__init__.py").is_file(), package


def test_data_files_are_packaged():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["gradloom.tools.data"]
    for path in (ROOT / "tools" / "data").iterdir():
        assert path.suffix in (".py", "") or any(path.match(pattern) for pattern in patterns), path
    assert len(load_digits()[0])
    assert (ROOT / "tools" / "data" / "digits.csv.gz").stat().st_size < 200_000


def test_the_citation_names_this_version():
    assert f"version: {PROJECT['project']['version']}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_licence_is_here_and_named():
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_python_runs_the_package_as_the_command():
    run = subprocess.run([sys.executable, "-m", "gradloom", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout == f"gradloom {PROJECT['project']['version']}\n"


def test_types_are_seen_from_outside():
    assert (ROOT / "py.typed").is_file()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["gradloom"]


def test_every_public_name_is_there():
    for name in gradloom.__all__:
        assert getattr(gradloom, name) is not None
