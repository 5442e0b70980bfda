"""`gradloom draw`: every stage, with graphviz and without."""

from __future__ import annotations

import re
import shutil
import stat
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.engine.report.layers import layers
from gradloom.engine.report.values import unit_name
from gradloom.engine.step.step_graph import trace_step
from gradloom.ir import OPS, Builder, Origin
from gradloom.passes.pipeline import PASS_NAMES, run_passes
from gradloom.tools.cli import main
from gradloom.tools.draw_bounds import bounds_of
from gradloom.tools.draw_boxes import MOST_BOXES, Opened, collapse
from gradloom.tools.draw_dot import dot_source
from gradloom.tools.draw_scopes import cut_scopes
from gradloom.tools.draw_u import MOST_ROWS, u_svg
from gradloom.tools.find_recipe import make_recipe

DOT = shutil.which("dot")


class Net(nn.Module):
    def __init__(self, blocks: int, checkpointed: bool = False) -> None:
        self.layers = nn.ModuleList(
            [nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)) for _ in range(blocks)]
        )
        self.checkpointed = checkpointed

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = x + (gl.checkpoint(layer) if self.checkpointed else layer)(x)
        return x


def loss_fn(model: Any, x: Any) -> Any:
    return (model(x) ** 2).mean()


def graph(blocks: int = 4, after: str | None = None, checkpointed: bool = False) -> gl.Graph:
    traced = trace_step(Net(blocks, checkpointed), loss_fn, optim.AdamW(1e-3), gl.spec((4, 8))).graph
    return traced if after is None else run_passes(traced, after=after)


def svg(text: str | bytes) -> ET.Element:
    found = ET.fromstring(text)
    assert found.tag == "{http://www.w3.org/2000/svg}svg"
    return found


def test_every_node_that_makes_arrays_is_in_one_box():
    for after in (None, *PASS_NAMES):
        g = graph(after=after)
        for depth in (0, 1, 2, 3, 9, None):
            drawing = collapse(g, depth)
            assert sum(box.nodes for box in drawing.boxes) == len(Opened(g).nodes)
            assert all(a != b and n >= 0 for (a, b), n in drawing.edges.items())
    assert len(collapse(g, 0).boxes) == len({node.origin.role for node in Opened(g).nodes})


def test_a_value_that_several_nodes_of_a_box_read_is_one_line_of_its_bytes():
    b = Builder()
    x = b.input(gl.spec((4, 8)), "x")
    b.origin = Origin(scope="a")
    made = b.emit(OPS["tanh"], x)
    b.origin = Origin(scope="b")
    read = b.emit(OPS["add"], b.emit(OPS["sin"], made), b.emit(OPS["cos"], made))
    drawing = collapse(b.graph([read]), 1)
    assert drawing.edges == {(0, 1): made.type.nbytes}


def test_by_default_few_boxes_are_drawn():
    for blocks in (1, 4, 40):
        assert len(collapse(graph(blocks)).boxes) <= MOST_BOXES
    flat = [gl.nn.Linear(4, 4) for _ in range(200)]
    traced = trace_step(nn.Sequential(*flat), loss_fn, optim.SGD(0.1), gl.spec((2, 4))).graph
    assert len(collapse(traced).boxes) <= MOST_BOXES


def test_of_many_numbered_modules_those_that_follow_one_another_are_one_box():
    drawing = collapse(graph(100))
    modules = [box.scope for box in drawing.boxes if box.role == "forward" and box.shape == "module"]
    ranges = [[int(n) for n in scope.removeprefix("layers.").split("-")] for scope in modules]
    assert 10 < len(ranges) < 50
    assert [n for first, last in ranges for n in range(first, last + 1)] == list(range(100))
    assert cut_scopes(["a.0.b", "a.1", "a.2.b", "a.10", "c"], 2, 2) == {
        "a.0.b": "a.0-1",
        "a.1": "a.0-1",
        "a.2.b": "a.2",
        "a.10": "a.10",
        "c": "c",
    }


class Called(nn.Module):
    """One module that is called between others, again and again."""

    def __init__(self, times: int) -> None:
        self.maps = nn.ModuleList([nn.Linear(8, 8) for _ in range(times)])
        self.shared = nn.Sequential(nn.Linear(8, 8), nn.Tanh())

    def forward(self, x: Any) -> Any:
        for layer in self.maps:
            x = self.shared(layer(x))
        return x


def test_calls_of_one_module_are_drawn_apart_as_far_as_few_boxes_are_enough():
    def called(times: int) -> gl.Graph:
        traced = trace_step(Called(times), loss_fn, optim.SGD(1e-3), gl.spec((4, 8))).graph
        return run_passes(traced, after="canonicalize")

    def shared(depth: int, times: int, role: str, most: int = MOST_BOXES) -> int:
        drawing = collapse(called(times), depth, most=most)
        assert drawing.apart == ("newrank=true" in dot_source(drawing))
        return sum(box.scope == "shared" and box.role == role for box in drawing.boxes)

    assert shared(1, 3, "forward") == 3
    assert shared(1, 3, "backward") == 3
    assert shared(1, 3, "optimizer") == 1
    assert shared(1, 1, "forward") == 1
    assert shared(1, 12, "forward", most=30) == 1  # too many
    assert len(collapse(called(3), 0).boxes) == 3


def test_what_one_line_makes_is_named_by_its_operations():
    drawing = collapse(graph(9))
    lines = [box for box in drawing.boxes if box.shape == "line"]
    assert lines
    for box in lines:
        assert box.title.startswith(next(iter(box.names)))
        assert not box.source or box.lines[-1] == box.source
    assert all(box.title for box in drawing.boxes)


def test_arrays_that_sums_begin_with_are_not_drawn():
    tiled = run_passes(trace_step(*make_recipe("gpt")).graph)

    def walk(g: gl.Graph) -> Iterator[Any]:
        for node in g.nodes:
            yield node
            if node.op.name == "scan":
                yield from walk(node.attrs["body"])

    fills = [node for node in walk(tiled) if unit_name(node) == "full"]
    assert len(fills) > 20
    assert not set(fills) & set(Opened(tiled).nodes)


def test_the_backward_goes_up_beside_the_forward():
    drawing = collapse(graph(3))
    lines = re.findall(r"n(\d+) -> n(\d+) \[(.*)\]", dot_source(drawing))
    seen: Counter[tuple[str, str, str, bool]] = Counter()
    for a, b, look in lines:
        upper, lower = drawing.boxes[int(a)].role, drawing.boxes[int(b)].role
        seen[upper, lower, look.partition("dir=")[2].partition(" ")[0], "minlen=0" in look] += 1
    assert seen["forward", "forward", "forward", False] > 3 * seen["forward", "forward", "back", False]
    assert seen["backward", "backward", "back", False] > 3 * seen["backward", "backward", "forward", False]
    assert seen["forward", "backward", "forward", True] > 0
    assert seen["backward", "optimizer", "forward", True] > 0
    assert all(beside == (upper != lower) for upper, lower, _, beside in seen)


def test_the_lines_make_no_rings_and_each_has_its_arrow():
    """Whatever is put together: the regions of one layer may run in another's box."""
    ways = [layer for _ in range(40) for layer in (nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU())]
    batch = {"x": gl.spec((16, 8)), "y": gl.spec((16,), "int64")}
    flat = trace_step(nn.Sequential(*ways), lambda m, b: nn.cross_entropy(m(b["x"]), b["y"]), optim.SGD(0.1), batch)
    for traced in (flat.graph, trace_step(*make_recipe("cnn")).graph):
        drawing = collapse(run_passes(traced))
        order: TopologicalSorter[int] = TopologicalSorter()
        arrows = set[tuple[int, int]]()
        for a, b, look in re.findall(r"n(\d+) -> n(\d+) \[(.*)\]", dot_source(drawing)):
            order.add(int(b), int(a))
            arrows |= {(int(a), int(b))} if "dir=back" not in look else set()
            arrows |= {(int(b), int(a))} if "dir=forward" not in look else set()
        order.prepare()
        assert arrows == set(drawing.edges)


def test_the_legend_names_the_colours_and_shapes_that_are_there():
    for checkpointed, after in ((False, None), (False, "schedule"), (True, None), (True, "schedule")):
        drawing = collapse(graph(2, after, checkpointed))
        legend = dot_source(drawing, "a <b> & c").partition("</table>>")[0]
        assert "<b>a &lt;b&gt; &amp; c</b>" in legend
        roles = {box.role for box in drawing.boxes}
        for role, word in (("forward", ">forward<"), ("recompute", ">recomputed<"), ("optimizer", ">update<")):
            assert (word in legend) == (role in roles)
        assert ("one fused loop" in legend) == any(box.shape == "region" for box in drawing.boxes)
        assert ("recompute" in roles) == checkpointed


def test_depth_puts_modules_together():
    boxes = [collapse(graph(), depth).boxes for depth in (1, 2, 3, 4)]
    assert [len(found) for found in boxes] == sorted(len(found) for found in boxes)
    modules = {box.scope for box in boxes[1] if box.shape == "module"}
    assert modules == {f"layers.{i}" for i in range(4)}
    assert "layers" in {box.scope for box in boxes[0] if box.shape == "module"}


def test_only_draws_a_module_and_its_neighbours():
    drawing = collapse(graph(), only="layers.1")
    inside = [box for box in drawing.boxes if box.shape != "beyond"]
    beyond = [i for i, box in enumerate(drawing.boxes) if box.shape == "beyond"]
    assert inside
    assert all(box.scope.startswith("layers.1") for box in inside)
    assert beyond
    for i in beyond:
        assert not drawing.boxes[i].scope.startswith("layers.1")
        assert any(i in pair and not set(pair) <= set(beyond) for pair in drawing.edges)
    assert "layers.3" not in {box.scope for box in drawing.boxes if box.role == "forward"}


def test_regions_list_what_runs_in_them_where_there_is_room():
    fused = run_passes(trace_step(nn.Linear(3, 2), loss_fn, optim.SGD(0.1), gl.spec((5, 3))).graph)
    regions = [box for box in collapse(fused).boxes if box.shape == "region"]
    assert any("mul" in line for box in regions for line in box.lines)
    text = dot_source(collapse(fused))
    assert "style=filled" in text


def loop(scope: str) -> gl.Graph:
    body = gl.trace(lambda c, x: (np.tanh(c) + x, c * x), gl.spec((3,)), gl.spec((3,)))
    builder = Builder()
    c, xs = builder.input(gl.spec((3,)), "c"), builder.input(gl.spec((7, 3)), "xs")
    with builder.at(Origin(scope=scope)):
        start = builder.emit(OPS["exp"], c)
        node = builder.emit_node(OPS["scan"], start, xs, body=body, consts=0, carries=1, length=7, reverse=False)
        end = builder.emit(OPS["neg"], node.outputs[0])
    return builder.graph([end, node.outputs[1]])


def test_a_loop_of_the_model_is_one_box_that_its_name_opens():
    drawing = collapse(loop("lstm.cell"))
    assert [(box.shape, box.title) for box in drawing.boxes] == [("op", "exp"), ("scan", "loop ×7"), ("op", "neg")]
    assert drawing.boxes[1].lines[:2] == ["tanh", "add"]
    assert set(drawing.edges) == {(0, 1), (1, 2)}
    opened = collapse(loop("lstm.cell"), only="lstm")
    assert {box.title for box in opened.boxes if box.shape != "beyond"} >= {"exp", "neg"}
    assert not any(box.shape == "scan" for box in opened.boxes)


def test_a_loop_that_runs_the_step_tile_by_tile_is_open():
    drawing = collapse(loop(""))
    titles = [box.title for box in drawing.boxes]
    assert titles == ["exp", "tanh", "add", "mul", "neg"]
    named = {(titles[a], titles[b]) for a, b in drawing.edges}
    assert named == {("exp", "tanh"), ("exp", "mul"), ("tanh", "add"), ("add", "neg")}


def test_dot_files_need_no_graphviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    for after in (None, *PASS_NAMES):
        arguments = [] if after is None else ["--after", after]
        assert main(["draw", "digits", "-o", str(tmp_path / "step.dot"), *arguments]) == 0
        text = (tmp_path / "step.dot").read_text()
        assert text.startswith("strict digraph step {")
        assert text.count("subgraph") >= 4
        for colour in ("#dbe9f6", "#fbe6cc", "#dcefdc"):
            assert colour in text


def test_without_graphviz_an_svg_is_a_u_and_the_way_to_get_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("PATH", "")
    out = tmp_path / "step.svg"
    assert main(["draw", "digits", "-o", str(out)]) == 0
    err = capsys.readouterr().err
    assert "apt install graphviz" in err
    assert "drawn as a U instead" in err
    assert any(text.text == "loss" for text in svg(out.read_text()).iter("{http://www.w3.org/2000/svg}text"))
    for arguments in (["-o", str(tmp_path / "step.png")], ["-o", str(out), "--layout", "dot"]):
        assert main(["draw", "digits", *arguments]) == 2
        assert "apt install graphviz" in capsys.readouterr().err


def fake_dot(folder: Path, script: str) -> None:
    program = folder / "dot"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_dot_gets_the_graph_and_the_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fake_dot(tmp_path, 'echo "$1"; exec /bin/cat')
    monkeypatch.setenv("PATH", str(tmp_path))
    for kind in ("svg", "pdf", "png"):
        out = tmp_path / f"step.{kind}"
        assert main(["draw", "digits", "-o", str(out)]) == 0
        assert out.read_text().startswith(f"-T{kind}\nstrict digraph step {{")


def test_dot_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    fake_dot(tmp_path, "exec /bin/sleep 60")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("gradloom.tools.draw._SECONDS", 0.2)
    assert main(["draw", "digits", "-o", str(tmp_path / "step.svg")]) == 0
    assert "drawn as a U instead" in capsys.readouterr().err
    svg((tmp_path / "step.svg").read_text())
    assert main(["draw", "digits", "-o", str(tmp_path / "step.pdf")]) == 2
    assert "--depth or --only" in capsys.readouterr().err


def test_a_dot_that_takes_too_long_gets_less_to_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    fake_dot(tmp_path, f"test -e {tmp_path}/tried && exec /bin/cat; : > {tmp_path}/tried; exec /bin/sleep 60")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("gradloom.tools.draw._SECONDS", 0.2)
    assert main(["draw", "gpt", "-o", str(tmp_path / "step.png")]) == 0
    assert (tmp_path / "step.png").read_text().count("[label=") <= MOST_BOXES // 3
    assert "more modules are collapsed" in capsys.readouterr().err


def test_a_dot_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    fake_dot(tmp_path, "echo no fonts >&2; exit 3")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["draw", "digits", "-o", str(tmp_path / "step.png")]) == 2
    assert "dot failed: no fonts" in capsys.readouterr().err


@pytest.mark.skipif(DOT is None, reason="there is no graphviz here")
@pytest.mark.parametrize("after", [None, *PASS_NAMES])
def test_graphviz_reads_what_is_written(after: str | None, tmp_path: Path):
    out = tmp_path / "step.svg"
    arguments = [] if after is None else ["--after", after]
    assert main(["draw", "mlp_s", "-o", str(out), "--layout", "dot", *arguments]) == 0
    assert len(list(svg(out.read_bytes()).iter("{http://www.w3.org/2000/svg}g"))) > 10


def test_the_u_has_a_row_for_each_layer_and_lines_as_wide_as_their_bytes():
    g = graph(after="schedule")
    text = u_svg(g, "A <title>", depth=2)
    names = [t.text for t in svg(text).iter("{http://www.w3.org/2000/svg}text")]
    assert "A <title>" in names
    rows = [name for name in names if name is not None and name.startswith("layers.")]
    assert rows == [f"layers.{i}" for i in range(4)]
    kept = re.findall(r'stroke-width="([\d.]+)"><title>[\d.]+ k?B kept in', text)
    assert len(kept) >= 4
    assert "dasharray" not in text
    for blocks in (2, 100):
        drawn = svg(u_svg(graph(blocks), ""))
        assert len(list(drawn.iter("{http://www.w3.org/2000/svg}rect"))) <= 3 * MOST_ROWS + 1
    assert len([t for t in drawn.iter("{http://www.w3.org/2000/svg}text") if (t.text or "").startswith("layers.")]) > 30


def test_a_norm_stands_between_the_convolutions_that_it_runs_between():
    ingredients = make_recipe("cnn")
    drawn = svg(u_svg(run_passes(trace_step(*ingredients).graph), ""))
    rows = [text.text or "" for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    told = [row.name for row in layers(gl.plan_step(*ingredients).report, 100)]
    for names in (rows, told):
        assert [n for n in names if re.fullmatch(r"3\.\w+", n)] == ["3.conv1", "3.norm1", "3.conv2", "3.norm2"]


def test_long_names_leave_room_for_the_boxes_and_are_told_whole():
    name = "a_rather_long_name_of_a_module_<in>_the_middle"

    class Named(nn.Module):
        def __init__(self) -> None:
            self.inner = nn.ModuleDict({name: nn.Linear(8, 8), "\u540d" * 30: nn.Linear(8, 8)})

        def forward(self, x: Any) -> Any:
            for layer in self.inner.values():
                x = layer(x)
            return x

    drawn = svg(u_svg(trace_step(Named(), loss_fn, optim.SGD(0.1), gl.spec((4, 8))).graph, "t" * 200))
    texts = list(drawn.iter("{http://www.w3.org/2000/svg}text"))
    assert all(len(t.text or "") <= 84 for t in texts)
    labels = {t[0].text: t.text for t in texts if len(t)}
    assert labels[f"inner.{name}"] == "inner.a_rathe…n>_the_middle"
    assert labels["inner." + "\u540d" * 30] == "inner." + "\u540d" * 3 + "…" + "\u540d" * 6


def test_what_is_computed_again_is_dashed():
    text = u_svg(graph(after="schedule", checkpointed=True), "", depth=2)
    assert text.count("stroke-dasharray") == 4
    assert "dashed: recomputed" in text


def test_large_graphs_are_collapsed_quickly_enough_to_look_at():
    large = graph(300)
    assert len(large.nodes) > 20_000
    assert len(collapse(large).boxes) <= MOST_BOXES
    assert len(u_svg(large, "")) < 100_000
    assert len(collapse(large, only="layers.7").boxes) <= MOST_BOXES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "step.gif"], "cannot draw step.gif: give a file that ends in .svg, .pdf, .png, .dot"),
        (["-o", "step"], "cannot draw step"),
        (["-o", "step.png", "--layout", "u"], "the layout u makes .svg files, not .png"),
        (["-o", "step.dot", "--after", "magic"], "there is no pass 'magic' for cpu"),
        (["-o", "step.dot", "--after", "fuse", "--memory", "1MB"], "--memory goes with the planned graph"),
        (["-o", "step.dot", "--only", "nope"], "no module is named 'nope'; there are 0, 2, 3, 5, 6"),
        (["-o", "step.svg", "--only", "nope", "--layout", "u"], "no module is named 'nope'"),
        (["-o", "nowhere/step.dot"], "cannot write nowhere/step.dot"),
    ],
)
def test_what_cannot_be_drawn_is_one_error(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    monkeypatch.chdir(tmp_path)
    assert main(["draw", "digits", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("recipe", ["mlp_s", "gpt", "lstm"])
def test_a_planned_step_is_drawn_with_its_critical_path_and_its_peak(recipe: str):
    report = gl.plan_step(*make_recipe(recipe)).report
    assert report.plan is not None
    bounds, graph = bounds_of(report), report.plan.graph
    # Each unit is the node that it was made of.
    assert {unit_name(node) for node in bounds.critical} == {report.units[i].name for i in report.critical_path.units}
    made = sum(report.values[i].bytes for removal in report.removals for i in removal.values)
    assert sum(bounds.peak.get(node, 0) for node in graph.nodes) == made
    drawing = collapse(graph, bounds=bounds)
    critical = [box for box in drawing.boxes if box.critical]
    assert critical
    text, u = dot_source(drawing), u_svg(graph, "", bounds=bounds)
    assert text.count('color="#c2352b"') == len(critical) + 1  # and the word for it
    assert "framed: the critical path" in text
    assert "at the peak" in text
    assert '<rect class="critical"' in u
    assert "framed: the critical path" in u
    for plain in (dot_source(collapse(graph)), u_svg(graph, "")):
        assert "the critical path" not in plain
        assert "at the peak" not in plain
