"""The benchmark measures each side in its own process, and all sides compute the same."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from gradloom.tools.bench.harness import Figures
from gradloom.tools.bench.worker import BUILDERS, measure
from gradloom.tools.cli import main


def test_figures_are_medians_of_rounds_and_the_first_is_cold():
    rounds = [{"median": m, "least": m / 2, "first": f, "loss": 1.0} for m, f in ((9.0, 5.0), (2.0, 1.0), (3.0, 2.0))]
    figures = Figures.of(rounds)
    assert (figures.step, figures.least, figures.cold, figures.warm) == (3.0, 1.0, 5.0, 1.5)
    assert Figures.of(rounds[:1]).warm is None


def test_bench_prints_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "figures.json"
    assert main(["bench", "mlp_s", "--rounds", "2", "--seconds", "0.05", "--json", str(file)]) == 0
    table = capsys.readouterr().out
    assert "mlp_s" in table
    assert "gradloom" in table
    found = json.loads(file.read_text())
    figures = found["workloads"]["mlp_s"]["gradloom"]
    assert figures["step_seconds"] > 0
    assert [r["steps"] > 0 for r in figures["rounds"]] == [True, True]
    assert figures["first_cold_seconds"] == figures["rounds"][0]["first"]
    assert {"gradloom", "numpy", "numba"} == set(found["versions"])


@pytest.mark.parametrize(("peer", "package"), [("torch", "torch"), ("jax", "jax")])
def test_a_peer_does_the_same_steps(peer: str, package: str):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    assert measure(peer, "mlp_s", 0.0)["loss"] == pytest.approx(measure("gradloom", "mlp_s", 0.0)["loss"], rel=1e-5)


def test_a_peer_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["bench", "--against", "torch-compile"]) == 2
    assert capsys.readouterr().err == (
        "gradloom: torch is not installed; pip install '.[peers]' in Gradloom's folder gets it\n"
    )


def test_a_side_that_fails_or_computes_something_else_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from gradloom.tools.bench import harness

    losses = {"gradloom": 2.0, "torch": 2.1}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(
        harness, "_run", lambda side, *_: {"median": 1.0, "least": 1.0, "first": 1.0, "loss": losses[side]}
    )
    assert main(["bench", "mlp_s", "--against", "torch", "--rounds", "1"]) == 2
    assert "they do not compute the same" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert main(["bench", "mlp_s", "--rounds", "1"]) == 2
    assert capsys.readouterr().err == "gradloom: gradloom failed on mlp_s: exit code 1\n"


def test_every_side_has_a_builder():
    from gradloom.tools.bench import Sides

    assert list(BUILDERS) == ["gradloom", *Sides.PEERS]
