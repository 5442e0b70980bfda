"""The page for a browser: whole, without a network, and alive in a real browser where there is one."""

from __future__ import annotations

import functools
import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import gradloom as gl
import pytest
from gradloom import nn, optim

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)


@functools.cache
def report(blocks: int = 6, memory: str | None = None, wide: tuple[int, ...] = ()) -> gl.MemoryReport:
    widths = [512 if i in wide else 128 for i in range(blocks)]
    layers = [nn.Sequential(nn.Linear(32, n), nn.GELU(), nn.Linear(n, 32)) for n in widths]

    class Net(nn.Module):
        def __init__(self) -> None:
            self.blocks = nn.ModuleList(layers)

        def forward(self, x: Any) -> Any:
            for block in self.blocks:
                x = x + block(x)
            return x

    batch = {"x": gl.spec((64, 32)), "y": gl.spec((64, 32))}

    def loss_fn(model: Any, batch: Any) -> Any:
        return nn.mse_loss(model(batch["x"]), batch["y"])

    return gl.plan_step(Net(), loss_fn, optim.AdamW(1e-3), batch, memory=memory, threads=1).report


def data_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_page_holds_the_whole_report(tmp_path: Path):
    r = report()
    r.to_html(tmp_path / "page.html", "A title")
    text = (tmp_path / "page.html").read_text("utf-8")
    data = data_of(text)
    assert "<title>A title</title>" in text
    assert data["figures"]["total_bytes"] == r.total_bytes
    assert data["values"]["bytes"] == [v.bytes for v in r.values]
    assert [data["texts"][i] for i in data["values"]["why"]] == [v.why for v in r.values]
    assert [data["texts"][i] for i in data["units"]["scope"]] == [u.scope for u in r.units]
    assert data["critical"]["units"] == list(r.critical_path.units)
    assert [removal["values"] for removal in data["removals"]] == [list(removal.values) for removal in r.removals]


def test_the_page_needs_no_network(tmp_path: Path):
    report().to_html(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert not re.search(r"https?://|//cdn|@import|<link|src=", text)
    assert "{{" not in text.partition("<script")[0]


def test_nothing_in_a_title_or_a_name_ends_the_script(tmp_path: Path):
    class Odd(nn.Module):
        def __init__(self) -> None:
            self.inner = nn.ModuleDict({"</script><b>": nn.Linear(3, 3)})

        def forward(self, x: Any) -> Any:
            return self.inner["</script><b>"](x)

    def loss_fn(model: Any, x: Any) -> Any:
        return model(x).sum()

    r = gl.plan_step(Odd(), loss_fn, optim.SGD(0.1), gl.spec((4, 3))).report
    r.to_html(tmp_path / "page.html", "<i>{{DATA}}</i>")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert text.count("</script>") == 2
    assert "<title>&lt;i&gt;{{DATA}}&lt;/i&gt;</title>" in text
    assert any("</script><b>" in scope for scope in data_of(text)["texts"])


def test_a_report_read_from_json_makes_the_same_page(tmp_path: Path):
    r = report()
    r.to_html(tmp_path / "a.html")
    gl.MemoryReport.from_json(r.to_json()).to_html(tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_file_that_cannot_be_written_is_an_error_of_the_system(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        report(1).to_html(tmp_path / "nowhere" / "page.html")


def dom_of(page: Path) -> str:
    """What a browser makes of the page."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,900", "--dump-dom"]
    command += ["--virtual-time-budget=5000", f"--user-data-dir={page.parent / 'profile'}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "</html>" in done.stdout, done.stderr[-2000:]
    return done.stdout


@pytest.mark.skipif(not BROWSER, reason="there is no chromium here")
def test_the_colours_of_many_layers_are_named_by_the_first_and_the_last(tmp_path: Path):
    report(75).to_html(tmp_path / "page.html")
    found = re.search(r'<div id="legend">(.*?)</div>', dom_of(tmp_path / "page.html"), re.DOTALL)
    assert found is not None
    assert re.findall(r">([^<>]+)<", found[1]) == ["blocks.0", "blocks.74", "outside the layers"]


def said_in(page: Path, script: str) -> Any:
    """What a script that runs in the page leaves in its element `result`."""
    page.write_text(page.read_text("utf-8").replace("<body>", f"<body><script>{script}</script>"), "utf-8")
    found = re.search(r'<pre id="result">(.*?)</pre>', dom_of(page), re.DOTALL)
    assert found is not None
    return json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


WALK = """window.addEventListener("load", () => {
  const graph = document.getElementById("graph"), result = document.createElement("pre"), told = new Set();
  graph.focus();
  for (let k = 0; k < 30; k++) {
    graph.dispatchEvent(new KeyboardEvent("keydown", { key: k ? "ArrowDown" : "ArrowUp", bubbles: true }));
    told.add(document.querySelector("#story h3").innerText);
  }
  result.id = "result";
  result.textContent = JSON.stringify([...told]);
  document.body.append(result);
});"""


@pytest.mark.skipif(not BROWSER, reason="there is no chromium here")
def test_only_layers_that_keep_about_as_much_are_folded(tmp_path: Path):
    for wide, folds in (((), ["0–11, 12 alike"]), ((5,), ["0–4, 5 alike", "6–11, 6 alike"])):
        page = tmp_path / f"{len(wide)}.html"
        report(12, wide=wide).to_html(page)
        assert [title.removeprefix("blocks ") for title in said_in(page, WALK) if "alike" in title] == folds


def flat_report(repeats: int) -> gl.MemoryReport:
    """Of one list of products, norms and rectifiers, whose norms run in the loops of others."""
    ways = [layer for _ in range(repeats) for layer in (nn.Linear(32, 32), nn.LayerNorm(32), nn.GELU())]
    model = nn.Sequential(nn.Linear(8, 32), *ways, nn.Linear(32, 4))
    batch = {"x": gl.spec((64, 8)), "y": gl.spec((64,), "int64")}
    return gl.plan_step(
        model, lambda model, batch: nn.cross_entropy(model(batch["x"]), batch["y"]), optim.AdamW(1e-3), batch, threads=1
    ).report


def test_the_page_has_the_layers_in_the_order_of_the_model(tmp_path: Path):
    r = flat_report(4)
    r.to_html(tmp_path / "page.html")
    data = data_of((tmp_path / "page.html").read_text("utf-8"))
    assert [data["texts"][i] for i in data["order"]] == [*map(str, range(14)), ""]


@pytest.mark.skipif(not BROWSER, reason="there is no chromium here")
def test_layers_that_come_again_and_again_are_folded(tmp_path: Path):
    flat_report(12).to_html(tmp_path / "page.html")
    titles = said_in(tmp_path / "page.html", WALK)
    assert titles == ["0", "1–36, 12 alike", "37", "outside the layers"]


DRAWN = """const words = [], fills = [];
window.requestAnimationFrame = (draw) => setTimeout(draw, 0);
const fillText = CanvasRenderingContext2D.prototype.fillText, fill = CanvasRenderingContext2D.prototype.fill;
CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
  words.push([text, y]);
  fillText.call(this, text, x, y);
};
CanvasRenderingContext2D.prototype.fill = function () {
  if (this.canvas.parentNode.id === "graph") fills.push(this.fillStyle);
  fill.call(this);
};
window.addEventListener("load", () => {
  const result = document.createElement("pre"), memory = document.getElementById("memory");
  const box = memory.getBoundingClientRect();
  document.body.style.width = "1300px";
  const place = { clientX: box.left + 90, clientY: box.top + 0.8 * box.height, bubbles: true };
  memory.dispatchEvent(new PointerEvent("pointermove", place));
  result.id = "result";
  setTimeout(() => {
    const lines = new Set([...document.querySelectorAll("#figures div")].map((figure) => figure.offsetTop));
    result.textContent = JSON.stringify({ words, fills, lines: lines.size });
    document.body.append(result);
  }, 500);
});"""


@pytest.mark.skipif(not BROWSER, reason="there is no chromium here")
def test_the_words_of_a_budget_stand_between_those_of_the_total_and_of_the_cursor(tmp_path: Path):
    r = report(6)
    tight = report(6, memory=str(r.total_bytes - r.arena_bytes // 8))
    assert tight.slowdown
    assert tight.recompute_flops
    report(6, memory=str(tight.total_bytes)).to_html(tmp_path / "page.html")
    said = said_in(tmp_path / "page.html", DRAWN)
    at = dict(said["words"])
    total, budget, phase = (
        next(y for text, y in at.items() if re.match(words, text)) for words in ("total|arena", "budget", "phase")
    )
    assert total - budget >= 14
    assert budget - phase >= 14
    assert said["lines"] == 1, "the figures stand in one line of 1,300 pixels"


def nested_report(odd: int = -1) -> gl.MemoryReport:
    """Of five stages of five layers; one of them may be made otherwise."""
    stages = [
        [layer for _ in range(3) for layer in (nn.Linear(16, 16), nn.GELU() if i == odd else nn.Tanh())]
        for i in range(5)
    ]
    model = nn.Sequential(nn.Sequential(*[nn.Sequential(*stage) for stage in stages]), nn.Linear(16, 4))
    batch = gl.spec((2048, 16))
    return gl.plan_step(model, lambda model, x: (model(x) ** 2).mean(), optim.SGD(0.1), batch, threads=1).report


@pytest.mark.skipif(not BROWSER, reason="there is no chromium here")
def test_layers_that_hold_others_have_colours_and_loops_say_over_how_many_tiles_they_run(tmp_path: Path):
    r = nested_report()
    r.to_html(tmp_path / "page.html")
    said = said_in(tmp_path / "page.html", DRAWN)
    # The arrows beside the rows, five stages, the last layer, what is outside, and what lies over them.
    assert len(set(said["fills"])) >= 1 + 5 + 1 + 1
    assert f"one of {math.prod(loop.length for loop in r.loops)} tiles" in dict(said["words"])


@pytest.mark.skipif(not BROWSER, reason="there is no chromium here")
def test_the_layers_of_a_list_open_together(tmp_path: Path):
    nested_report(odd=2).to_html(tmp_path / "page.html")
    assert said_in(tmp_path / "page.html", WALK) == ["0", *(f"0.{i}" for i in range(5)), "1", "outside the layers"]


SCRIPT = (Path(__file__).parent / "drive_page.js").read_text("utf-8")


@pytest.mark.skipif(not BROWSER, reason="there is no chromium here")
def test_the_page_lives_in_a_browser(tmp_path: Path):
    r = report()
    curve = [{"total_bytes": 1000, "slowdown": 1.2, "measured": 1.1}, {"total_bytes": 2000, "slowdown": 1.0}]
    r.to_html(tmp_path / "page.html", "A step", curve)
    said = said_in(tmp_path / "page.html", SCRIPT)
    assert said["errors"] == []
    assert f"phase {r.peak_phase}" in said["start"]
    assert f"in {len(r.critical_path.units)} units, framed in the graph" in said["start"]
    assert f"without {r.values[r.removals[0].values[0]].name}" in said["start"]
    assert "lives" in said["arena"]
    assert "test_page.py:" in said["arena"]
    assert said["peak"].startswith(f"Phase {r.peak_phase} of {r.phases}")
    assert r.live(r.peak_phase)[0].type in said["largest"]
    assert said["next"] != said["largest"]
    assert said["phase"].startswith(f"Phase {r.peak_phase + 1} of")
    assert said["row"]
    matching = [v for v in r.values if "blocks.2" in v.scope]
    assert said["search"].startswith(f"{len(matching)} values match")
    # What is drawn seldom has colours; what lies over it has some too, now that a search is on.
    assert all(colours > 4 for colours in said["canvases"][::2])
    assert {line.partition(":")[0] for line in said["seen"]} == {"arena", "memory", "graph"}
