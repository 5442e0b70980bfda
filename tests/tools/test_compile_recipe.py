"""`gradloom compile` says what took how long, and the next start finds the machine code."""

from __future__ import annotations

import re
from pathlib import Path

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.runtime.codegen import kernel_cache
from gradloom.tools.cli import main


@pytest.fixture
def new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes the process forget its kernels; they are kept in a folder of their own."""
    monkeypatch.setenv("GRADLOOM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("GRADLOOM_CACHE", raising=False)

    def forget() -> None:
        monkeypatch.setattr(kernel_cache, "_kernels", {})
        monkeypatch.setattr(kernel_cache, "_engine", None)

    forget()
    return forget


def test_the_report_of_a_cold_start_and_of_a_warm_one(new_process, capsys: pytest.CaptureFixture[str]):
    assert main(["compile", "mlp_s"]) == 0
    cold = capsys.readouterr().out
    found = re.search(r"kernels +\d+\.\d+ s +(\d+), of which 0 from the cache", cold)
    assert found is not None
    assert f"compiled {found[1]} because: not in the cache\n" in cold
    rows = cold.partition("  from      runs\n")[2].splitlines()
    assert len(rows) == int(found[1])
    seconds = [float(row.split()[0]) for row in rows]
    assert seconds == sorted(seconds, reverse=True)
    assert any(row.split(maxsplit=2)[1:] == ["compiler", "the driver, which calls all others"] for row in rows)
    # The products of the layers share a kernel.
    assert any(re.search(r"  compiler  dot of 0 \(forward\) and \d more$", row) for row in rows), rows
    new_process()
    assert main(["compile", "mlp_s"]) == 0
    warm = capsys.readouterr().out
    assert f"{found[1]}, of which {found[1]} from the cache" in warm
    assert "because" not in warm
    assert "compiler" not in warm


def test_a_report_adds_up():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    step = gl.compile_step(model, lambda m, x: m(x).sum(), optim.SGD(0.1), gl.spec((5, 3), "float32"))
    report = step.compile_report
    parts = (report.trace_seconds, report.plan_seconds, report.kernel_seconds, report.setup_seconds)
    assert all(part >= 0 for part in parts)
    assert report.total_seconds == pytest.approx(sum(parts))
    assert {"kernel", "drive"} <= {kernel.name for kernel in report.kernels}
    assert len(report.uses) == len(report.kernels)


def layers(n: int) -> gl.Step:
    block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, norm_first=True)
    model = nn.Sequential(nn.Linear(8, 16), nn.TransformerEncoder(block, n), nn.Linear(16, 4))
    batch = np.zeros((2, 6, 8), np.float32)
    return gl.compile_step(model, lambda m, x: (m(x) ** 2).mean(), optim.AdamW(1e-3), batch)


def test_a_deeper_model_has_no_more_kernels():
    few, many = ({k.address for k in layers(n).compile_report.kernels if k.name == "kernel"} for n in (2, 24))
    assert many == few


def test_what_is_no_recipe_is_one_error(capsys: pytest.CaptureFixture[str]):
    assert main(["compile", "nothing"]) == 2
    assert capsys.readouterr().err.startswith("gradloom: there is no recipe 'nothing'")
