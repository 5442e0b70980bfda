"""`gradloom plan --ranks`: what many ranks take, without them."""

from __future__ import annotations

import json
from pathlib import Path

import gradloom as gl
import pytest
from gradloom import nn
from gradloom.engine.compile.targets import target_of
from gradloom.tools import many_ranks
from gradloom.tools.cli import main
from gradloom.tools.find_recipe import make_recipe
from gradloom.tools.many_ranks import Network, OfRanks, predict_ranks

RECIPE = """
import gradloom as gl
from gradloom import nn

def recipe():
    def loss_fn(model, batch):
        return nn.mse_loss(model(batch["x"]), batch["y"])

    model = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 8))
    return model, loss_fn, gl.optim.AdamW(1e-3), {"x": gl.spec((4, 8)), "y": gl.spec((4, 8))}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(many_ranks, "_MOST_PLANNED", 8)
    monkeypatch.setattr(many_ranks, "_SECONDS", 0.0)  # two plans, and the rest is reckoned
    Path("model.py").write_text(RECIPE)
    return "model.py:recipe"


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("25GB/s,5us", Network(25.0, 5000.0)),
        (" 1.5 GB/s , 250 ns ", Network(1.5, 250.0)),
        ("100GB/s,0.5µs", Network(100.0, 500.0)),
        ("1GB/s,1ms", Network(1.0, 1e6)),
    ],
)
def test_a_network_is_bandwidth_and_latency(text: str, network: Network):
    assert Network.parsed(text) == network


@pytest.mark.parametrize("text", ["25GB/s", "5us", "25,5", "0GB/s,5us", "GB/s,us", "-1GB/s,5us", ""])
def test_what_is_no_network_is_said(text: str):
    with pytest.raises(ValueError, match="is no network such as 25GB/s,5us"):
        Network.parsed(text)


def test_what_was_planned_is_what_a_step_takes(recipe: str):
    found = predict_ranks(recipe, 8, "state", Network(25.0, 5000.0), target_of("cpu"), 2, None)
    assert [one.ranks for one in found.found] == [2**i for i in range(11)]
    assert [one.ranks for one in found.found if one.exactly] == [2, 8]

    def loss_fn(model, batch):
        return nn.mse_loss(model(batch["x"]), batch["y"])

    model = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 8))
    batch = {"x": gl.spec((32, 8)), "y": gl.spec((32, 8))}
    options = {"ranks": 8, "parts": 8, "shard": "state", "threads": 2}
    plan = gl.plan_step(model, loss_fn, gl.optim.AdamW(1e-3), batch, **options)
    assert found.of_asked.nbytes == plan.report.total_bytes
    held = [one.held for one in found.found]
    assert held == sorted(held, reverse=True)
    assert all(one.step >= one.compute > 0 and one.messages >= 0 for one in found.found)
    assert (found.found[0].exactly, found.found[0].messages, found.found[0].sent) == (False, 0, 0)
    times = [one.messages for one in found.found if one.ranks > 1]
    assert times == sorted(times)


def test_faster_networks_take_less_time(recipe: str):
    target = target_of("cpu")
    slow, fast = (predict_ranks(recipe, 2, None, Network(*n), target, 1, None) for n in ((1.0, 1e5), (100.0, 1e2)))
    assert slow.of_asked.messages > 10 * fast.of_asked.messages
    assert slow.of_asked.nbytes > 0


def test_the_least_number_of_ranks_that_fit_is_named(recipe: str, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", recipe, "--ranks", "8", "--shard", "state", "--json", "found.json"]) == 0
    text = capsys.readouterr().out
    assert "8 ranks, shard='state'" in text
    assert "each computes 4 rows, the batch of the recipe: 32 together; --batch-size 4 shares them" in text
    found = json.loads(Path("found.json").read_text())
    rows = found["of_ranks"]
    enough = rows[3]["bytes"]
    assert main(["plan", recipe, "--ranks", "8", "--shard", "state", "--memory", f"{enough}B", "--html", "p.html"]) == 0
    least = next(row["ranks"] for row in rows if row["bytes"] <= enough)
    assert f"{least} ranks or more fit" in capsys.readouterr().out
    page = Path("p.html").read_text()
    assert page.count("<svg") == 2
    for told in (">1024</text>", ">memory</text>", "<th ", ">recomputed</th>", "rows, the batch of the recipe"):
        assert told in page
    assert main(["plan", recipe, "--ranks", "8", "--shard", "state", "--memory", "1kB"]) == 2
    text = capsys.readouterr().out
    assert "no number of ranks up to 1,024 fits 1.00 kB each; the least that was planned is " in text
    least = min((row for row in rows if row["planned"]), key=lambda row: row["bytes"])
    assert f"is {least['bytes']:,} bytes" in text
    assert f"of each of {least['ranks']} ranks, without recomputing" in text
    assert "take a smaller batch in the recipe, or shard what ranks hold: --shard parameters" in text
    assert main(["plan", recipe, "--ranks", "8", "--memory", "1kB", "--batch-size", "64", "--json", "-"]) == 2
    printed, said = capsys.readouterr()
    assert json.loads(printed)["least_ranks"] is None
    assert "take --batch-size with fewer rows, or shard" in said


def test_ranks_share_the_batch_that_is_given(recipe: str, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", recipe, "--ranks", "4", "--batch-size", "16", "--json", "found.json"]) == 0
    text = capsys.readouterr().out
    assert "all share a batch of 16 rows, 4 each" in text
    found = json.loads(Path("found.json").read_text())
    assert found["batch_rows"] == 16
    assert [row["ranks"] for row in found["of_ranks"]] == [1, 2, 4, 8, 16]
    assert main(["plan", recipe, "--ranks", "4", "--json", "each.json"]) == 0
    each = json.loads(Path("each.json").read_text())
    assert each["batch_rows"] is None
    assert each["of_ranks"][2] == found["of_ranks"][2]


def test_gpus_have_no_threads(recipe: str, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", recipe, "--ranks", "2", "--target", "cuda:h100"]) == 0
    assert "2 ranks, shard=None, a GPU each" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard", "state"], "--shard, --network and --batch-size are of --ranks"),
        (["--batch-size", "8"], "--shard, --network and --batch-size are of --ranks"),
        (["--ranks", "4", "--batch-size", "6"], "4 ranks cannot share 6 rows evenly; write --batch-size 4"),
        (["--ranks", "6"], "6 is no power of two up to 1,024, as ranks are: write 4 or 8"),
        (["--ranks", "3000"], "3000 is no power of two up to 1,024, as ranks are: write 1024"),
        (["--ranks", "4", "--network", "fast"], "'fast' is no network such as 25GB/s,5us"),
        (["--ranks", "4", "--memory", "50%"], "--memory with --ranks is that of each rank"),
        (["--ranks", "4", "--accumulate", "2"], "--ranks goes with --memory"),
    ],
)
def test_what_does_not_go_together_is_said(
    options: list[str], message: str, recipe: str, capsys: pytest.CaptureFixture[str]
):
    try:
        code = main(["plan", recipe, *options])
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert message in capsys.readouterr().err


def test_efficiency_is_the_part_of_a_step_that_computes():
    one = OfRanks(2, 10.0, 5.0, 30.0, 20.0, 40.0, 100.0, 2.0, exactly=True)
    assert (one.nbytes, one.efficiency) == (15.0, 0.75)


def test_what_a_rank_computes_does_not_grow_with_their_number(recipe: str, monkeypatch: pytest.MonkeyPatch):
    """Sums of what many ranks sent read many views, which cost nothing."""
    monkeypatch.setattr(many_ranks, "_MOST_PLANNED", 64)
    Path("model.py").write_text(RECIPE.replace("64", "512").replace("8", "256"))
    network, target = Network(25.0, 100.0), target_of("cpu")
    few, many = (predict_ranks(recipe, n, None, network, target, 1, None).of_asked for n in (8, 64))
    assert few.exactly
    assert many.exactly
    assert many.count > few.count
    assert 0.9 < many.compute / few.compute < 1.1


def test_ranks_recompute_to_fit_their_memory(recipe: str, capsys: pytest.CaptureFixture[str]):
    """What is said to fit does so in a step with that budget, and the next fewer ranks do not fit it."""
    Path("model.py").write_text(
        RECIPE.replace(
            "nn.Tanh(), ", "*[layer for _ in range(6) for layer in (nn.Tanh(), nn.Linear(64, 64))], "
        ).replace("(4, 8)", "(512, 8)")
    )
    assert main(["plan", recipe, "--ranks", "8", "--shard", "state", "--json", "free.json"]) == 0
    free = json.loads(Path("free.json").read_text())["of_ranks"]
    memory = free[3]["bytes"] - free[3]["arena_bytes"] // 6
    options = ["--ranks", "8", "--shard", "state", "--memory", f"{memory}B"]
    assert main(["plan", recipe, *options, "--json", "found.json"]) == 0
    assert "recomputed" in capsys.readouterr().out
    found = json.loads(Path("found.json").read_text())
    of_8 = found["of_ranks"][3]
    assert of_8["planned"]
    assert of_8["bytes"] <= memory < free[3]["bytes"]
    assert of_8["recompute_slowdown"] > 0
    assert all(row["bytes"] <= memory for row in found["of_ranks"] if row["ranks"] >= found["least_ranks"])
    model, loss_fn, optimizer, _ = make_recipe(recipe)
    batch = {name: gl.spec((4096, 8)) for name in ("x", "y")}
    plan = gl.plan_step(model, loss_fn, optimizer, batch, memory=memory, ranks=8, parts=8, shard="state")
    assert plan.report.total_bytes == of_8["bytes"]
