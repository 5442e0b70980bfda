"""The proof on a GPU: its stages, what they leave behind when they fail, and all of it on a driver that is a fake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gradloom.tools.prove_cuda import __main__ as prove
from gradloom.tools.prove_cuda import stages
from gradloom.tools.prove_cuda.report import Report, document, read_lines
from gradloom.tools.prove_cuda.stages import Options, Stage, run_stages


def staged(monkeypatch: pytest.MonkeyPatch, *runs: Callable[[Report, Options], None]) -> list[Stage]:
    """Stages that run functions, by their names, and need no GPU."""
    table = {run.__name__: run for run in runs}
    monkeypatch.setattr(Stage, "run", lambda self, report, options: table[self.name](report, options))
    return [Stage(name, "", 10, needs_gpu=False) for name in table]


def right(report: Report, options: Options) -> None:
    report.note("a", 1)
    report.check("it holds", True)
    report.row("a table", x=1.5, y="z")


def broken(report: Report, options: Options) -> None:
    report.note("before", 2)
    raise KeyError("the reason")


def wrong(report: Report, options: Options) -> None:
    report.check("bits", False, "3 of 4")


def test_a_stage_that_fails_stops_no_other_and_leaves_what_it_found(monkeypatch: pytest.MonkeyPatch):
    seen: list[list[str]] = []
    table = staged(monkeypatch, broken, wrong, right)
    found = run_stages(table, Options(fake=True), False, lambda outcomes: seen.append(list(outcomes)))
    assert [outcome["state"] for outcome in found.values()] == ["failed", "failed", "passed"]
    assert found["broken"]["notes"] == {"before": 2}
    assert "KeyError: 'the reason'" in found["broken"]["error"]
    assert found["wrong"]["checks"] == [{"check": "bits", "holds": False, "told": "3 of 4"}]
    assert found["right"]["tables"] == {"a table": [{"x": 1.5, "y": "z"}]}
    assert seen[0] == ["broken"]  # told before the next begins


def test_stages_that_need_a_gpu_or_more_time_than_there_is_are_left_out(monkeypatch: pytest.MonkeyPatch):
    (stage,) = staged(monkeypatch, right)
    found = run_stages([Stage("right", "", 1)], Options(fake=True), False, lambda _: None)
    assert (found["right"]["state"], found["right"]["lacks"]) == ("left out", ["a GPU"])
    found = run_stages([stage], Options(fake=True, minutes=0.0), True, lambda _: None)
    assert found["right"]["lacks"] == ["time: 0 minutes are over"]


def test_a_stage_runs_in_a_process_of_its_own_which_is_ended_in_time():
    (machine,) = (stage for stage in stages.STAGES if stage.name == "machine")
    late = run_stages([machine], Options(minutes=0.03), True, lambda _: None)["machine"]
    assert late["state"] == "out of time"
    whole = run_stages([machine], Options(minutes=60), True, lambda _: None)["machine"]
    assert whole["state"] == "passed"
    assert whole["notes"]["versions"]["gradloom"]


def test_what_a_process_left_is_read_up_to_a_line_that_was_cut():
    lines = read_lines('{"note": "a", "value": 1}\n{"lacks": "b"}\n{"note": "c", "va')
    assert document(lines) == {"notes": {"a": 1}, "checks": [], "lacks": ["b"], "tables": {}}


@pytest.mark.parametrize(("runs", "missing", "code"), [
    ([right], [], prove.HOLDS),
    ([right, wrong], [], prove.BROKEN),
    ([right, broken], ["a driver"], prove.BROKEN),
    ([right], ["a driver"], prove.NO_GPU),
])  # fmt: skip
def test_the_exit_code_says_what_became_of_it_and_the_json_has_it_all(
    runs: Any, missing: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    monkeypatch.setattr(prove, "STAGES", staged(monkeypatch, *runs))
    monkeypatch.setattr(prove, "what_is_missing", lambda: missing)
    monkeypatch.setattr(stages, "_apart", stages._here)
    file = tmp_path / "found.json"
    assert prove.main(["--json", str(file)]) == code
    found = json.loads(file.read_text())
    assert found["missing"] == missing
    assert list(found["stages"]) == [run.__name__ for run in runs]
    printed = capsys.readouterr().out
    assert "right: passed" in printed
    assert all(f"without a GPU: {what}" in printed for what in missing)
    assert ("does not hold: bits: 3 of 4" in printed) == (wrong in runs)
    assert ("KeyError: 'the reason'" in printed) == (broken in runs)


def test_all_of_it_runs_on_a_driver_that_is_a_fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    file = tmp_path / "found.json"
    gpu_stages = [name for name in stages.STAGE_NAMES if name != "kernels"]  # which the fake compiles no kernels for
    only = [word for name in gpu_stages for word in ("--only", name)]
    code = prove.main(["--fake", "--json", str(file), *only])
    found = json.loads(file.read_text())["stages"]
    states = {name: (outcome["state"], outcome.get("error")) for name, outcome in found.items()}
    assert states == dict.fromkeys(gpu_stages, ("passed", None))
    assert code == prove.HOLDS
    checks = {check["check"] for outcome in found.values() for check in outcome["checks"]}
    assert {
        "mlp: 1 steps have the bits of the emulator",
        "mlp: 10 steps have the bits of the emulator",
        "gather: 16 rows",
        "mlp_s: what compiling takes is what was planned",
        "mlp_s: as much is free after 20 steps more",
        "an index out of range is refused",
        "the next step is that of a run without it",
        "a step larger than the card is refused",
        "nothing was allocated for it",
        "a lost device is an error that says what to do",
        "the checkpoint is untouched",
    } <= checks
    rows = {title: rows for outcome in found.values() for title, rows in outcome["tables"].items()}
    assert rows["step times"][0]["model"] == "mlp_s"
    assert len(rows["the longest units of mlp_s"]) == 10
    assert "ceilings: passed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--minutes", "-1"], "'-1' is no number of minutes above 0"),
        (["--minutes", "nan"], "'nan' is no number"),
        (["--json", "nowhere/x.json"], "there is no folder for nowhere/x.json"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_a_stage_runs(
    asked: list[str], told: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        prove.main(["--fake", *asked])
    assert told in capsys.readouterr().err
