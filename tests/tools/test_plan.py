"""`gradloom plan`: reports, differences, budgets, and exit codes that a CI can use."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import gradloom as gl
import pytest
from gradloom import nn
from gradloom.engine.report.schema import MemoryReport
from gradloom.engine.step import core_times
from gradloom.tools.bench import machine
from gradloom.tools.cli import main
from gradloom.tools.find_recipe import make_recipe
from gradloom.tools.plan_diff import diff_text

RECIPES = """
import gradloom as gl
from gradloom import nn

def recipe(width, rows=64):
    model = nn.Sequential(*[layer for _ in range(4) for layer in (nn.Linear(width, width), nn.Tanh())])
    batch = {"x": gl.spec((rows, width)), "y": gl.spec((rows, width))}
    return model, lambda model, batch: nn.mse_loss(model(batch["x"]), batch["y"]), gl.optim.SGD(0.1), batch

def small():
    return recipe(32)

def large():
    return recipe(64)

def cut():
    return recipe(128, 256)
"""


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "zoo.py").write_text(RECIPES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(name: str) -> MemoryReport:
    return gl.plan_step(*make_recipe(f"zoo.py:{name}")).report


def without_lines(text: str) -> str:
    """What a step does by itself is told by the line that plans it, and by none where a command does."""
    return re.sub(r" +\n", "\n", re.sub(r" +(\S+\.py:\d+ *)?", " ", text))


def test_the_report_is_printed(recipes: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", "zoo.py:small"]) == 0
    text = capsys.readouterr().out
    assert without_lines(text) == without_lines(f"{planned('small')}\n")
    assert "zoo.py:" in text
    assert "test_plan.py:" not in text


def test_json_is_the_report_alone_or_in_a_file(recipes: Path, capsys: pytest.CaptureFixture[str]):
    for arguments in (["--json"], ["--json", "small.json"]):
        assert main(["plan", "zoo.py:small", *arguments]) == 0
    printed = capsys.readouterr().out
    alone, _, text = printed.partition("\n}\n")
    alone += "\n}\n"
    assert (recipes / "small.json").read_text() == alone
    assert json.loads(alone)["total_bytes"] == planned("small").total_bytes
    assert main(["plan", "small.json"]) == 0
    assert capsys.readouterr().out == text


def test_files_are_written_when_nobody_reads_what_is_printed(recipes: Path):
    read, write = os.pipe()
    os.close(read)
    command = (
        "from gradloom.tools.cli import main; raise SystemExit(main(['plan', 'zoo.py:small', '--html', 'small.html']))"
    )
    done = subprocess.run([sys.executable, "-c", command], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (recipes / "small.html").exists()


def test_the_precision_and_the_bytes_of_each_dtype_are_told(recipes: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", "zoo.py:small", "--precision", "bf16", "--json", "small.json"]) == 0
    assert re.search(r"^precision +bf16   at the peak .*bf16 [\d.]+ ", capsys.readouterr().out, re.MULTILINE)
    report = MemoryReport.from_json(Path("small.json").read_text())
    assert report.precision == "bf16"
    assert sum(report.bytes_by_dtype.values()) == sum(value.bytes for value in report.live(report.peak_phase))
    assert {"bf16", "f32"} <= report.bytes_by_dtype.keys()
    assert main(["plan", "zoo.py:small", "--precision", "tf32"]) == 2
    assert "a CPU has none" in capsys.readouterr().err


def test_html_is_a_page(recipes: Path):
    assert main(["plan", "zoo.py:small", "--html", "small.html"]) == 0
    assert "<title>One training step of zoo.py:small</title>" in (recipes / "small.html").read_text()


def test_a_step_is_planned_for_a_gpu_that_is_not_here(recipes: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["plan", "zoo.py:large", "--target", "cuda:h100", "--memory", "90%"]
    assert main([*arguments, "--curve", "3", "--html", "gpu.html", "--json", "gpu.json"]) == 0
    text = capsys.readouterr().out
    assert "phases on 132 SMs of cuda:h100\n" in text
    assert "of it used\ncard               80.00 GB   less than 0.1% of it used\n" in text
    assert "memory against time:" in text
    assert '"timed_on":"132 SMs"' in (recipes / "gpu.html").read_text().replace('": "', '":"')
    assert main(["plan", "gpu.json"]) == 0
    assert text.startswith(capsys.readouterr().out.rstrip())
    assert main(["plan", "zoo.py:large", "--target", "cuda:a100", "--memory", "1MB", "--largest-batch"]) == 0
    assert "the largest batch that fits 1MB is" in capsys.readouterr().out
    assert main(["plan", "zoo.py:large", "--target", "cuda:h1"]) == 2
    assert "there is no GPU target 'h1'; there are 'sm_80'" in capsys.readouterr().err
    assert main(["plan", "zoo.py:large", "--target", "cuda", "--threads", "2"]) == 2
    assert "threads is for the CPU" in capsys.readouterr().err


def test_a_difference_says_what_changed_by_layer(recipes: Path, capsys: pytest.CaptureFixture[str]):
    main(["plan", "zoo.py:small", "--json", "small.json"])
    capsys.readouterr()
    small, large = planned("small"), planned("large")
    for before in ("zoo.py:small", "small.json"):
        assert main(["plan", before, "--diff", "zoo.py:large"]) == 0
        head, text = capsys.readouterr().out.split("\n", 1)
        assert head == f"from {before} to zoo.py:large:"
        rows = {line.split("  ")[-1].strip(): line for line in text.splitlines()}
        assert "+49.66 kB (+293.9%)" in rows["parameters"]
        assert 4 * 4 * (64 * 65 - 32 * 33) == 49_664 == large.parameter_bytes - small.parameter_bytes
        changed = {layer for row in rows for layer in row.split(", ")}
        assert changed >= {"0", "2", "4", "6"}


def test_layers_that_change_alike_are_told_together():
    def blocks(width: int, first: int) -> MemoryReport:
        widths = [first, *[width] * 7]
        model = nn.Sequential(*[nn.Sequential(nn.Linear(8, n), nn.Tanh(), nn.Linear(n, 8)) for n in widths])
        return gl.plan_step(model, lambda model, x: (model(x) ** 2).mean(), gl.optim.SGD(0.1), gl.spec((4, 8))).report

    text = diff_text(blocks(16, 16), blocks(32, 400), "a", "b")
    rows = {line.split("  ")[-1].strip(): line for line in text.splitlines()}
    assert "*.2 ×6" in rows, "all but the first, and the last, where the backward begins"
    assert re.search(r"\((\d+) times\)", rows["0.0"]), "what changed otherwise stands alone"


def test_a_difference_of_the_same_says_so(recipes: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", "zoo.py:small", "--diff", "zoo.py:small", "--fail-over", "0"]) == 0
    out = capsys.readouterr().out
    assert "nothing changed" in out
    assert out.count("the same") == 5


def test_more_than_is_allowed_ends_with_1_and_one_clear_line(recipes: Path, capsys: pytest.CaptureFixture[str]):
    total = planned("large").total_bytes
    growth = total - planned("small").total_bytes
    for arguments, found, code in (
        ([f"--fail-over={total}"], total, 0),
        ([f"--fail-over={total - 1}"], total, 1),
    ):
        assert main(["plan", "zoo.py:large", *arguments]) == code
        line = capsys.readouterr().out.splitlines()[-1]
        assert line.startswith("FAILED: the step takes" if code else "ok: the step takes")
        assert f"{found:,} bytes" in line
    for limit, code in ((growth, 0), (growth - 1, 1)):
        assert main(["plan", "zoo.py:small", "--diff", "zoo.py:large", f"--fail-over={limit}"]) == code
        assert f"the step grows by {growth / 1000:.2f} kB ({growth:,} bytes)" in capsys.readouterr().out
    # Less is never too much.
    assert main(["plan", "zoo.py:large", "--diff", "zoo.py:small", "--fail-over=0"]) == 0


def test_what_a_program_reads_is_json_alone(recipes: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", "zoo.py:large", "--fail-over=1kB", "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["total_bytes"] == planned("large").total_bytes
    assert printed.err.strip().startswith("FAILED: the step takes")


def test_a_budget_is_kept_and_reported(recipes: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", "zoo.py:large", "--memory", "90%", "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert fields["total_bytes"] <= fields["budget_bytes"] == int(0.9 * planned("large").total_bytes)
    assert main(["plan", "zoo.py:large", "--memory", "1kB"]) == 2
    assert "the least that fits" in capsys.readouterr().err


def test_the_largest_batch_fits_and_one_more_does_not(recipes: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", "zoo.py:small", "--memory", "50kB", "--largest-batch"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("the largest batch that fits 50kB is ")
    assert main(["plan", "zoo.py:small", "--memory", "50kB", "--largest-batch", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["largest_batch"]
    assert line.split()[-1] == f"{rows:,}"
    model, loss_fn, optimizer, _ = make_recipe("zoo.py:small")

    def batch(n: int) -> dict[str, object]:
        return {"x": gl.spec((n, 32)), "y": gl.spec((n, 32))}

    gl.plan_step(model, loss_fn, optimizer, batch(rows), memory="50kB")
    with contextlib.suppress(gl.MemoryBudgetError):
        # Smaller tiles of the batch, which not every length has, are not looked for.
        more = gl.plan_step(model, loss_fn, optimizer, batch(rows + 1), memory="50kB")
        assert str(more.report.variant).startswith("smaller-tiles")
    assert main(["plan", "mlp_s", "--memory", "1GB", "--largest-batch"]) == 0
    assert capsys.readouterr().out.endswith(" or more\n")  # it runs in tiles of the batch, however long
    assert main(["plan", "zoo.py:small", "--memory", "10kB", "--largest-batch"]) == 2
    said = capsys.readouterr()
    least = "gradloom plan zoo.py:small --memory 10kB says the least that the step takes"
    assert (said.out, said.err) == ("", f"gradloom: no batch is small enough for 10kB: {least}, and what lives then\n")
    assert main(["plan", "zoo.py:small", "--memory", "10kB", "--largest-batch", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["largest_batch"] == 0


def test_a_curve_has_planned_and_really_run_points(recipes: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", "zoo.py:small", "--curve", "4", "--run", "--json", "c.json", "--html", "c.html"]) == 0
    out = capsys.readouterr().out.partition("memory against time:\n")[2].splitlines()
    points = json.loads((recipes / "c.json").read_text())["curve"]
    assert 1 <= len(out) == len(points) <= 4
    assert points[0]["total_bytes"] == planned("small").total_bytes
    assert points[0]["slowdown"] == points[0]["measured"] == 1.0
    assert all(a["total_bytes"] > b["total_bytes"] for a, b in pairwise(points))
    assert all("really" in line for line in out)
    assert '"curve":[{' in (recipes / "c.html").read_text()
    # The points are no part of the report itself.
    assert MemoryReport.from_json((recipes / "c.json").read_text()).total_bytes == planned("small").total_bytes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.json"], "cannot read nothing.json"),
        (["zoo.py:small", "--diff", "nothing.json"], "cannot read nothing.json"),
        (["bad.json"], "bad.json: this is no memory report: it has no 'schema'"),
        (["binary.json"], "binary.json: this is no memory report: Expecting value"),
        (["bad.json", "--curve"], "bad.json is a saved report; a curve needs the recipe"),
        (["zoo.py:small", "--largest-batch"], "--largest-batch needs the memory"),
        (["bad.json", "--largest-batch", "--memory", "1MB"], "the largest batch needs the recipe"),
        (["zoo.py:small", "--largest-batch", "--memory", "1MB", "--html", "x.html"], "--largest-batch goes with"),
        (["bad.json", "--memory", "1MB"], "bad.json: saved as planned; --memory needs the recipe"),
        (["bad.json", "--diff", "bad.json", "--memory", "1MB"], "bad.json and bad.json: saved as planned"),
        (["zoo.py:small", "--run"], "--run runs the points of --curve"),
        (["zoo.py:small", "--json", "nowhere/x.json"], "cannot write nowhere/x.json"),
        (["zoo.py:small", "--html", "nowhere/x.html"], "cannot write nowhere/x.html"),
    ],
)
def test_what_cannot_be_planned_is_one_error(
    arguments: list[str], message: str, recipes: Path, capsys: pytest.CaptureFixture[str]
):
    good = planned("small").to_json()
    (recipes / "bad.json").write_text("{}" if "no memory report" in message else good)
    (recipes / "binary.json").write_bytes(b"\xff\xfe")
    assert main(["plan", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("limit", ["", "-1", "much", "50%", "1 parsec"])
def test_a_limit_is_a_number_of_bytes(limit: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as exit:
        main(["plan", "digits", f"--fail-over={limit}"])
    assert exit.value.code == 2
    assert "is no number of bytes" in capsys.readouterr().err


def test_time_on_more_cores_is_predicted(
    recipes: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(core_times, "_SECONDS", 0.0)
    monkeypatch.setattr(machine, "_SECONDS", 0.0)
    assert main(["plan", "zoo.py:cut", "--cores", "12", "--bandwidth", "50", "--json", "out.json"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"runs in \d+ phases on 12 threads of cpu:\w+, cut for 12 cores", printed)
    table = printed[printed.index("time on more cores, predicted:") :]
    assert re.search(r"memory [\d.e+]+ GB/s a core, 50 at most; a cache line goes from core to core in 100 ns", table)
    assert re.findall(r"^ +(\d+) .*x .*%", table, re.MULTILINE) == ["1", "2", "4", "8", "12", "16", "32", "64"]
    found = json.loads((recipes / "out.json").read_text())["on_cores"]
    assert (found["cores"], found["gb_per_second"]) == (12, 50)
    for time in found["times"]:
        parts = (time[part] for part in ("work", "too_few_parts", "barriers", "memory"))
        assert sum(parts) == pytest.approx(time["seconds"])
        assert time["seconds"] > 0.9 * found["times"][0]["seconds"] / time["cores"]


@pytest.mark.parametrize(
    ("option", "message"),
    [("--cores=4000", "4000 is more than 256"), ("--cores=0", "1 or more"), ("--bandwidth=0", "number above 0")],
)
def test_cores_and_bandwidth_are_numbers_of_a_machine(option: str, message: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["plan", "digits", option])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zoo.py:small", "--bandwidth", "50"], "--bandwidth is of the machine that --cores is of; give that too"),
        (["saved.json", "--cores", "4"], "saved.json is a saved report; --cores needs the recipe"),
        (["zoo.py:small", "--cores", "4", "--target", "cuda:h100"], "cores is for the CPU, got 4 for 'cuda:h100'"),
    ],
)
def test_cores_that_cannot_be_predicted_for_are_one_error(
    recipes: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["plan", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_budget_may_round(recipes: Path, capsys: pytest.CaptureFixture[str]):
    for options in (["--memory", "75%", "--allow", "bf16"], ["--precision", "parameters=fp16", "--loss-scaling", "8"]):
        assert main(["plan", "zoo.py:small", *options, "--json", "small.json"]) == 0
    assert re.search(r"^precision +parameters=fp16   at the peak", capsys.readouterr().out, re.MULTILINE)
    assert main(["plan", "zoo.py:small", "--allow", "bf16"]) == 2
    assert "--allow bf16 is for a budget; give --memory too, or --precision kept=bf16" in capsys.readouterr().err
    for wrong in (["--allow", "fp8"], ["--loss-scaling", "-2"], ["--precision", "kept=fp8"]):
        with pytest.raises(SystemExit):
            main(["plan", "zoo.py:small", *wrong])
        assert "argument --" in capsys.readouterr().err
