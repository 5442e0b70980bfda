"""The benchmark measures each side in its own process, and all sides compute the same."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradloom as gl
import pytest
from gradloom import nn, optim
from gradloom.passes.target import Target
from gradloom.runtime.cuda.presence import missing
from gradloom.tools.bench import GPU_PEERS, PEERS, WIDER, WORKLOADS, gradloom_side, harness, listed
from gradloom.tools.bench.figures import Comparison, Figures, Results
from gradloom.tools.bench.machine import Clocks, Noise, Speed, measure_speed, speed_of, usable_cores
from gradloom.tools.bench.side import Place
from gradloom.tools.bench.side_process import environment
from gradloom.tools.bench.worker import BUILDERS, measure
from gradloom.tools.bench.workloads import check_name, task
from gradloom.tools.cli import main
from gradloom.tools.command_error import CommandError


def of_round(*medians: float, first: float = 1.0, loss: float = 1.0, beyond: int = 100) -> dict[str, Any]:
    work = {"matmul_flops": 1000, "parameters": 10, "draws": False}
    turns = [{"median": median, "least": median / 2, "cpu": 10 - median} for median in medians]
    return {"turns": turns, "first": first, "first_cpu": 2 * first, "loss": loss, "bytes_beyond": beyond, **work}


def test_figures_are_medians_of_rounds_and_the_first_is_cold():
    rounds = [of_round(9.0, first=5.0), of_round(2.0), of_round(3.0, first=2.0)]
    figures = Figures.of(rounds)
    assert (figures.step, figures.least, figures.cold, figures.warm) == (3.0, 1.0, 5.0, 1.5)
    assert figures.spread == pytest.approx(7 / 3)
    assert Figures.of(rounds[:1]).warm is None
    on_one_core = Figures.of(rounds, pinned=True)
    assert (on_one_core.cold, on_one_core.warm) == (10.0, 3.0)


def test_a_comparison_is_with_the_best_peer_and_with_the_floor():
    sides = {"gradloom": [of_round(2.0, beyond=30)], "torch": [of_round(3.0)], "jax": [of_round(5.0, beyond=60)]}
    comparison = Comparison({name: Figures.of(rounds) for name, rounds in sides.items()})
    assert comparison.speedup == 1.5
    assert comparison.bytes_ratio == 0.5
    assert comparison.floor(Speed(flops=1000, bandwidth=280)) == 1 + 1
    alone = Comparison({"gradloom": comparison.sides["gradloom"]})
    assert alone.speedup is alone.bytes_ratio is None


def test_sides_are_compared_turn_by_turn_and_on_one_core_by_processor_time():
    # The machine is twice as slow in the last two turns.
    sides = {"gradloom": [of_round(1.0, 2.0), of_round(2.0)], "torch": [of_round(1.5, 3.0), of_round(3.0)]}
    figures = {name: Figures.of(rounds) for name, rounds in sides.items()}
    assert Comparison(figures).ratios == {"torch": 1.5}
    assert Comparison(figures, pinned=True).ratios == {"torch": 7 / 8}
    assert figures["torch"].cpu == 7.0
    assert [Comparison(figures, pinned).seconds("torch") for pinned in (False, True)] == [3.0, 7.0]


def test_the_run_says_when_the_machine_was_too_noisy():
    assert Noise(0.0, 0.0).complaints({"torch on gpt": 0.1}) == []
    assert Noise(0.5, 0.1).complaints({"torch on gpt": 0.4, "jax on gpt": 0.2}) == [
        "other processes had 50% of the cores",
        "10% of the cores' time was stolen by other machines on the same hardware",
        "rounds lie apart: those of torch on gpt by 40% of their median",
    ]
    cores = usable_cores()
    quiet, busy = Clocks(10.0, 5.0, 1.0, 4.0), Clocks(20.0, 5.0 + 6.0 * cores, 1.0 + cores, 4.0 + 2.0 * cores)
    assert Noise.between(quiet, busy) == Noise(pytest.approx(0.4), pytest.approx(0.1))
    noise = Noise.between(Clocks.now(), Clocks.now())
    assert noise.stolen >= 0
    assert noise.others >= 0


def test_the_machine_is_measured():
    speed = Speed(**measure_speed())
    assert speed.flops > 1e8
    assert speed.bandwidth > 1e7


def test_the_floor_counts_matrix_products_in_loops_too():
    x = gl.spec((4, 5))
    assert gradloom_side.matmul_flops(gl.trace(lambda x: x @ x.T + x.sum(), x)) == 2 * 4 * 4 * 5
    model = nn.Linear(3, 2)
    planned = gl.plan_step(model, lambda m, x: m(x).sum(), optim.SGD(0.1), gl.spec((7, 3), "float32")).report.plan.graph
    assert gradloom_side.matmul_flops(planned) == 2 * (2 * 7 * 3 * 2)  # forward, and the weight's gradient


def test_the_floor_counts_the_gradients_of_convolutions():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Conv2d(4, 5, 3, bias=False))
    batch = gl.spec((2, 3, 6, 6), "float32")
    traced = gl.plan_step(model, lambda m, x: m(x).sum(), optim.SGD(0.1), batch).graph
    first, second, to_input = 2 * (2 * 36) * (4 * 27), 2 * (2 * 16) * (5 * 36), 2 * (2 * 36) * (4 * 45)
    assert gradloom_side.matmul_flops(traced) == 2 * first + 2 * second + to_input  # none to the image


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be held to a core here")
def test_bench_prints_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file, cores = tmp_path / "figures.json", os.sched_getaffinity(0)
    assert main(["bench", "mlp_s", "--rounds", "1", "--seconds", "0.05", "--pin", "too", "--json", str(file)]) == 0
    assert os.sched_getaffinity(0) == cores
    table = capsys.readouterr().out
    assert "mlp_s" in table
    assert "mlp_s, one core" in table
    assert "gradloom" in table
    found = json.loads(file.read_text())
    for name, first in (("mlp_s", "first"), ("mlp_s, one core", "first_cpu")):
        figures = found["workloads"][name]["gradloom"]
        assert figures["step_seconds"] > 0
        assert figures["cpu_seconds"] > 0
        assert [turn["steps"] > 0 for r in figures["rounds"] for turn in r["turns"]] == [True] * harness.TURNS
        assert figures["first_cold_seconds"] == figures["rounds"][0][first] > 0
        assert figures["bytes_beyond"] > 0
        assert figures["floor_seconds"] > 0
    assert found["machine"]["flops_per_second"] > 0
    assert {"gradloom", "numpy", "numba"} == set(found["versions"])


def needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def test_a_column_for_each_number_of_threads(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "bench.json"
    options = ["--threads", "2,1,3", "--cores", "6", "--rounds", "1", "--seconds", "0.01", "--json", str(file)]
    assert main(["bench", "mlp_s", *options]) == 0
    text = capsys.readouterr().out
    assert "1 thread" in text
    assert "3 threads" in text
    assert re.search(r" [\d.]+ 1\.00x +[\d.]+ [\d.]+x +[\d.]+ [\d.]+x", text)
    found = json.loads(file.read_text())["workloads"]["mlp_s"]
    assert list(found) == ["gradloom", "gradloom, threads=1", "gradloom, threads=2", "gradloom, threads=3"]
    assert len({side["rounds"][0]["loss"] for side in found.values()}) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threads", "1", "--pin", "only"], "on all cores; leave --pin out"),
        (["--threads", "1", "--target", "cuda-emulated"], "--threads and --cores are for the CPU; leave them out"),
    ],
)
def test_threads_are_those_of_all_cores(options: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    assert main(["bench", "mlp_s", *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.peers
@pytest.mark.parametrize("name", WORKLOADS)
@pytest.mark.parametrize("peer", ["torch", "jax"])
def test_a_peer_does_the_same_steps(peer: str, name: str):
    needs(PEERS[peer])
    if name == "mlp_l":
        pytest.skip("as mlp_m, but larger")
    theirs, ours = measure(peer, name, 0.0, 8, memory=True), measure("gradloom", name, 0.0, 8, memory=True)
    assert theirs["loss"] == pytest.approx(ours["loss"], rel=harness.LOSS_TOLERANCE)
    assert theirs["bytes_beyond"] > 0
    assert ours["bytes_beyond"] > 0


def test_the_bytes_of_gradloom_are_those_that_are_allocated():
    asked = task("mlp_s")
    step = gl.compile_step(*asked.ingredients[:3], asked.batch)
    assert gradloom_side.build(asked, Place()).bytes_beyond() == step._live.arena.nbytes + step.report.constant_bytes


def test_batches_have_the_size_that_is_asked_for():
    assert task("gpt", 3).batch["x"].shape == task("gpt", 3).batch["y"].shape == (3, 128)
    assert task("mlp_s").batch["x"].shape == (32, 64)
    assert task("gpt", 3).batch["x"].max() > 100


RECIPE = """
import numpy as np
import gradloom as gl
from gradloom import nn

def line():
    batch = {"x": np.linspace(0, 1, 24, dtype="float32").reshape(8, 3), "y": np.ones((8, 1), "float32")}
    return nn.Linear(3, 1), lambda model, b: ((model(b["x"]) - b["y"]) ** 2).mean(), gl.optim.AdamW(1e-2), batch

def line_torch():
    import torch
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    return model, lambda model, b: ((model(b["x"]) - b["y"]) ** 2).mean(), optimizer

def line_jax(parameters):
    return lambda p, b: ((b["x"] @ p["weight"].T + p["bias"] - b["y"]) ** 2).mean(), parameters

def alone():
    return line()
"""


@pytest.mark.peers
def test_a_recipe_of_the_users_is_measured_with_the_peers_that_stand_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "line_recipe.py").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "line_recipe.py:alone", "--rounds", "1", "--seconds", "0", "--against", ""]) == 0
    for peer in ("torch", "jax"):
        needs(PEERS[peer])
        ours = measure("gradloom", "line_recipe.py:line", 0.0, 4)["loss"]
        assert measure(peer, "line_recipe.py:line", 0.0, 4)["loss"] == pytest.approx(ours, rel=1e-5)
        with pytest.raises(CommandError, match=f"beside line_recipe.py:alone there is no function .* and _{peer}"):
            measure(peer, "line_recipe.py:alone", 0.0)
    both = harness.Sides.parse("torch,jax")
    assert both.on("line_recipe.py:line") == ["gradloom", "torch", "jax"]
    assert both.on("line_recipe.py:alone") == ["gradloom"]
    assert both.on("gpt") == both.on("vit") == ["gradloom", "torch", "jax"]
    assert both.on("resnet_1") == ["gradloom", "torch"]
    capsys.readouterr()


TORCH_RECIPE = """
import torch
import gradloom as gl

class WithLoss(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.0), torch.nn.Linear(4, 1))

    def forward(self, x, y, scale=1.0):
        return {"loss": scale * torch.nn.functional.mse_loss(self.layers(x), y)}

def line():
    torch.manual_seed(0)
    batch = {"x": torch.randn(8, 3), "y": torch.randn(8, 1)}
    model, loss_fn = gl.from_torch_loss(WithLoss(), **batch, scale=2.0)
    return model, loss_fn, gl.optim.AdamW(1e-2), batch
"""


@pytest.mark.peers
def test_a_module_of_torch_is_the_peer_of_its_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    needs("torch")
    (tmp_path / "exported_recipe.py").write_text(TORCH_RECIPE)
    monkeypatch.chdir(tmp_path)
    name = "exported_recipe.py:line"
    assert harness.Sides.parse("torch,torch-compile").on(name) == ["gradloom", "torch", "torch-compile"]
    ours = measure("gradloom", name, 0.0, 4)
    assert not ours["draws"]
    assert measure("torch", name, 0.0, 4)["loss"] == pytest.approx(ours["loss"], rel=1e-5)
    assert main(["plan", name, "--json", str(tmp_path / "plan.json")]) == 0
    assert '"layers.2"' in (tmp_path / "plan.json").read_text()


LOSS_RECIPE = """
import torch
import numpy as np
import gradloom as gl
from gradloom.nn import functional as F

def smoothed(out, y):
    return F.cross_entropy(out.reshape(-1, 5), y.reshape(-1), label_smoothing=0.1)

def net():
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.BatchNorm1d(6), torch.nn.ReLU(), torch.nn.Linear(6, 5))
    batch = {"x": torch.randn(12, 8), "y": torch.randint(0, 5, (12,)), "z": torch.randn(12, 5)}

    def loss_fn(model, batch):
        out = model(batch["x"])
        loss = smoothed(out, batch["y"]) + 0.1 * np.mean((gl.nn.softmax(out, axis=-1) - batch["z"]) ** 2)
        return loss, {"sum": np.sum(out)}

    return gl.from_torch(layers, batch["x"]), loss_fn, gl.optim.AdamW(1e-2, weight_decay=0.05), batch

def other():
    model, _, optimizer, batch = net()
    return model, lambda model, batch: model(batch["x"]).astype("float64").sum(), optimizer, batch
"""


@pytest.mark.peers
def test_a_loss_of_ours_is_run_by_torch_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    needs("torch")
    (tmp_path / "loss_recipe.py").write_text(LOSS_RECIPE)
    monkeypatch.chdir(tmp_path)
    assert harness.Sides.parse("torch,jax").on("loss_recipe.py:net") == ["gradloom", "torch"]
    ours = measure("gradloom", "loss_recipe.py:net", 0.0)["loss"]
    assert measure("torch", "loss_recipe.py:net", 0.0)["loss"] == pytest.approx(ours, rel=1e-5)
    with pytest.raises(
        CommandError, match=r"torch cannot run <lambda> .*'astype'; a function of the recipe's name and _torch"
    ):
        measure("torch", "loss_recipe.py:other", 0.0)


@pytest.mark.peers
@pytest.mark.slow
def test_the_compiled_peer_computes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    needs("torch")
    (tmp_path / "loss_recipe.py").write_text(LOSS_RECIPE)
    monkeypatch.chdir(tmp_path)
    ours = measure("gradloom", "loss_recipe.py:net", 0.0)["loss"]
    assert measure("torch-compile", "loss_recipe.py:net", 0.0)["loss"] == pytest.approx(ours, rel=1e-5)


WIDER_BATCH = 4
"""Smaller batches are soon measured; of fewer examples batch norm would make rounding errors large."""


def same_losses(name: str, peers: Sequence[str]) -> None:
    """Steps of a workload of the wider list on each of the sides."""
    batch_size = None if task(name).is_inference else WIDER_BATCH
    ours = measure("gradloom", name, 0.0, batch_size)["loss"]
    for peer in peers:
        if peer not in WIDER[name].without:
            assert measure(peer, name, 0.0, batch_size)["loss"] == pytest.approx(ours, rel=harness.LOSS_TOLERANCE)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["pinn", "mlp_1", "gru", "wavenet"])
def test_models_of_the_wider_list_are_the_same_on_each_side(name: str):
    needs("torch")
    needs("jax")
    same_losses(name, ("torch", "jax"))


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("name", WIDER)
def test_all_models_of_the_wider_list_are_the_same_on_each_side(name: str):
    needs("torch")
    needs("jax")
    same_losses(name, ("torch", "jax"))


def shape_of_result(name: str) -> tuple[int, ...]:
    asked = task(name, 4)
    model, loss_fn, *_ = asked.ingredients

    def result(values: Any, batch: Any) -> Any:
        return loss_fn(lambda *args: nn.functional_call(model, values, *args, training=True), batch)

    (found,) = gl.trace(result, nn.init_parameters(model), asked.batch).outputs
    return found.type.shape


def test_models_of_the_wider_list_have_a_loss_or_outputs():
    for name in WIDER:
        assert bool(shape_of_result(name)) == task(name).is_inference


def test_lists_of_workloads_have_names():
    assert listed([]) == list(WORKLOADS)
    assert listed(["wider", "mlp_s"]) == [*WIDER, "mlp_s"]
    assert listed(["all"]) == [*WORKLOADS, *WIDER]
    with pytest.raises(CommandError, match=r"there is no workload 'gpt3'; there are mlp_s, .*, gpt_1, and recipes"):
        check_name("gpt3")


def test_peers_are_held_to_the_instructions_of_a_lesser_target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("gradloom.tools.bench.side_process.host_cpu", lambda: "avx512")
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    own = environment("cpu:avx512", tmp_path)
    assert "ONEDNN_MAX_CPU_ISA" not in own
    assert own["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=false"
    lesser = environment("cpu:avx2", tmp_path)
    assert lesser["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert lesser["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=false --xla_cpu_max_isa=AVX2"
    assert lesser["GRADLOOM_CACHE_DIR"] == str(tmp_path / "gradloom")


def test_a_picture_is_drawn(tmp_path: Path):
    needs("matplotlib")
    from gradloom.tools.bench.picture import draw

    sides = {"gradloom": Figures.of([of_round(2.0)]), "torch": Figures.of([of_round(3.0)])}
    results = Results({"a": Comparison(sides), "b": Comparison(sides)}, Speed(1e9, 1e9), Noise(0.0, 0.0))
    draw(results, str(tmp_path / "figures.svg"))
    assert "</svg>" in (tmp_path / "figures.svg").read_text()
    with pytest.raises(CommandError, match="cannot draw to"):
        draw(results, str(tmp_path / "figures.nonsense"))


def test_without_matplotlib_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["bench", "mlp_s", "--picture", "x.png"]) == 2
    assert "matplotlib is not installed; pip install '.[plot]'" in capsys.readouterr().err


def test_a_peer_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["bench", "--against", "torch-compile"]) == 2
    assert capsys.readouterr().err == (
        "gradloom: torch is not installed; pip install '.[peers]' in Gradloom's folder gets it\n"
    )


def test_a_side_that_fails_or_computes_something_else_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    losses = {"gradloom": 2.0, "torch": 2.1}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    speed = {"flops": 1.0, "bandwidth": 1.0}

    class Process:
        def __init__(self, asked: dict[str, Any], cache: Path, pinned: bool):
            self.first, self.side = speed, asked["side"]

        def __enter__(self):
            return self

        def __exit__(self, *_: object):
            pass

        def answer(self, line: str) -> Any:
            return of_round(1.0)["turns"][0]

        def end(self) -> Any:
            return of_round(1.0, loss=losses[self.side])

    monkeypatch.setattr(harness, "SideProcess", Process)
    assert main(["bench", "mlp_s", "--against", "torch", "--rounds", "1"]) == 2
    assert "they do not compute the same" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert main(["bench", "mlp_s", "--rounds", "1"]) == 2
    assert capsys.readouterr().err == "gradloom: machine failed on its own: exit code 1\n"


def test_a_gpu_that_is_not_here_is_an_error_that_names_what_is_missing(capsys: pytest.CaptureFixture[str]):
    if not missing(Target.cuda()):
        pytest.skip("there is a GPU here")
    assert main(["bench", "mlp_s", "--target", "cuda"]) == 2
    assert re.search("cuda:sm_90.*no driver of NVIDIA's", capsys.readouterr().err)


def test_a_side_on_a_gpu_is_not_held_to_a_core(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(harness, "backend_of", lambda target: None)
    assert main(["bench", "mlp_s", "--target", "cuda:sm_80", "--pin", "too"]) == 2
    assert "--pin is for CPUs" in capsys.readouterr().err


def test_sides_that_there_are_on_a_gpu_alone_are_refused_on_a_cpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert harness.Sides.parse(",".join(PEERS), "cuda:sm_80").peers == tuple(PEERS)
    for peer in GPU_PEERS:
        with pytest.raises(CommandError, match=f"{peer} is measured on a GPU alone; add --target cuda"):
            harness.Sides.parse(peer)
    assert not Place("cuda-emulated").on_gpu
    assert Place("cuda:h100").on_gpu


def test_the_floor_of_a_gpu_is_that_of_its_data_sheet():
    speed = Speed(**speed_of("cuda:h200"))
    assert (round(speed.flops / 1e12), round(speed.bandwidth / 1e9)) == (67, 4800)
    assert speed.source == "what the data sheet of cuda:h200 says"


def test_ours_is_measured_on_another_target():
    theirs, ours = (measure("gradloom", "mlp_s", 0.0, 4, target=target) for target in ("cpu", "cuda-emulated"))
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)


def test_every_side_has_a_builder():
    assert list(BUILDERS) == ["gradloom", *PEERS]
