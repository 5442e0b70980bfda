"""`gradloom lecture` lists, runs and draws the lecture's experiments."""

from pathlib import Path

import numpy as np
import pytest
from gradloom.examples.lecture import NAMES, harness
from gradloom.tools.cli import main


def test_each_experiment_has_a_line(capsys):
    assert main(["lecture", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(NAMES)
    for each in harness.experiments():
        assert each.title
        assert each.claim.endswith(".")


def test_each_file_is_an_experiment():
    files = {path.stem for path in Path(harness.__file__).parent.glob("*.py")}
    assert files - {"__init__", "harness"} == set(NAMES)


@pytest.fixture
def planted(monkeypatch):
    """An experiment that takes no time, and does not agree."""
    panel = harness.Panel("a panel", "x", "y", {"one": (np.arange(3), np.arange(3.0) ** 2)})
    outcome = harness.Outcome(["what", "how much"], [["<b>", 1.25]], "Nothing.", False, [panel])
    given = harness.Experiment("cost_exponents", "A title", "All is well.", lambda setting: outcome)
    monkeypatch.setattr(harness, "experiment", lambda name: given)
    monkeypatch.setattr(harness, "experiments", lambda: [given, given])


def test_an_experiment_prints_its_table_and_whether_it_agrees(planted, capsys):
    assert main(["lecture", "cost_exponents"]) == 1
    out = capsys.readouterr().out
    assert "1.25" in out
    assert "The lecture: All is well. Seen: Nothing. It does not agree." in " ".join(out.split())


def test_all_of_them_make_a_page_that_needs_no_network(planted, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    out = tmp_path / "page.html"
    assert main(["lecture", "--all", "-o", str(out)]) == 1
    page = out.read_text()
    assert page.count("<svg") == 2
    assert "&lt;b&gt;" in page
    assert "does not agree" in page
    assert "src=" not in page
    assert f"wrote {out}" in capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name one experiment, or write --list or --all"),
        (["nothing"], "there is no experiment 'nothing'"),
        (["--all", "--list"], "name one experiment"),
        (["cost_exponents", "--data", "none.npz"], "there is no such file"),
        (["--all", "-o", "no/such/page.html"], "there is no folder"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments, message, capsys):
    assert main(["lecture", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["signal_propagation"])
def test_experiments_agree_with_the_lecture(name):
    assert harness.experiment(name).run(harness.Setting()).agrees


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_agrees_with_the_lecture(name):
    assert harness.experiment(name).run(harness.Setting()).agrees
