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
    assert "It does not agree." in page
    assert "src=" not in page
    assert f"wrote {out}" in capsys.readouterr().out.replace("\n", "")


def fails(setting):
    raise ValueError("there is no loss")


def is_interrupted(setting):
    raise KeyboardInterrupt


def test_an_experiment_that_fails_is_named_and_the_others_run(planted, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    good = harness.experiment("cost_exponents")
    monkeypatch.setattr(harness, "experiments", lambda: [harness.Experiment("bad", "B", "It runs.", fails), good])
    assert main(["lecture", "--all", "-o", str(tmp_path)]) == 1
    assert capsys.readouterr().out.count("bad failed: ValueError: there is no loss") == 2
    page = (tmp_path / "lecture.html").read_text()
    assert "bad failed: ValueError: there is no loss" in page
    assert page.count("<section") == 1


def test_what_was_done_until_an_interruption_is_written(planted, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    good = harness.experiment("cost_exponents")
    late = harness.Experiment("late", "L", "It ends.", is_interrupted)
    monkeypatch.setattr(harness, "experiments", lambda: [good, late, good])
    assert main(["lecture", "--all", "-o", str(tmp_path)]) not in (0, 1)
    assert "interrupted" in capsys.readouterr().err
    assert (tmp_path / "lecture.html").read_text().count("<section") == 1


def test_a_part_of_a_claim_that_was_not_seen_is_told():
    outcome = harness.Outcome([], [], "", True, unseen="the rest was not.")
    assert outcome.verdict == "It agrees in part: the rest was not."


def test_ticks_of_a_short_logarithmic_axis_are_plain_numbers():
    pytest.importorskip("matplotlib")
    curves = {name: (np.array([2, 4, 8, 16]), np.array([0.5, 1, 2, 3]) * i) for i, name in enumerate("abcde", 1)}
    drawn = harness.figure(harness.Outcome([], [], "", True, [harness.Panel("t", "x", "y", curves, True, True)]))
    assert all(f"<!-- {n} -->" in drawn for n in (2, 5, 10, "e"))
    assert "times" not in drawn


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
