"""What a notebook and a prompt show of the things that users hold: short, whole, and safe whatever a name holds."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.engine.fit.history import History
from gradloom.ir.html import block, line_chart, table

HOSTILE = "<script>alert('x')</script>&\x1b[31m"
VOID = {"br", "img", "meta", "link", "hr"}


class Checked(HTMLParser):
    """Notes tags that are not closed, and those that would run or load something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.wrong: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.wrong += [name for name, value in attrs if name.startswith("on") or "url(" in (value or "")]
        self.wrong += [name for name, _ in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(thing: Any) -> Checked:
    """The HTML of a thing, which is whole, runs nothing and loads nothing."""
    html = thing if isinstance(thing, str) else thing._repr_html_()
    found = Checked()
    found.feed(html)
    found.close()
    assert not found.open
    assert not found.wrong
    assert not found.tags & {"script", "link", "style", "iframe", "img"}
    assert "\x1b" not in html
    return found


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({"<b>": nn.Linear(3, 2)})

    def forward(self, x: Any) -> Any:
        return self.layers["<b>"](x)


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]), batch["y"])


BATCH = {"x": np.ones((4, 3), np.float32), "y": np.zeros(4, np.int64)}


@pytest.fixture(scope="module")
def things() -> dict[str, Any]:
    model = Named()
    optimizer = gl.optim.AdamW(gl.optim.Cosine(1e-3, 10))
    step = gl.compile_step(model, loss_fn, optimizer, BATCH, diagnose=True)
    history = gl.fit(step, BATCH, epochs=2, validate=BATCH, progress=False)
    predict = step.bind(lambda model, x: model(x))
    predict(BATCH["x"])
    double = gl.compile(lambda x: x * 2)
    double(np.ones(3))
    plan = gl.plan_step(model, loss_fn, optimizer, BATCH, memory="1MB")
    return {
        "model": model,
        "optimizer": optimizer,
        "step": step,
        "report": step.report,
        "plan": plan,
        "graph": plan.graph,
        "history": history,
        "predict": predict,
        "compiled": double,
        "new": gl.compile(np.sin),
        "diagnosis": step.diagnosis,
    }


def test_a_notebook_shows_a_table_or_a_picture_of_each(things: dict[str, Any]) -> None:
    expected = {
        "model": ["Named, parameters: 8", "(<b>): Linear(in_features=3"],
        "optimizer": ["AdamW", "weight_decay", "Cosine(lr=0.001"],
        "step": ["Training step", "Named", "steps done", "2", "live bytes of the arena", "the whole report"],
        "report": ["Memory of a step", "optimizer state", "live at the peak", "layers.<b>"],
        "plan": ["Plan of a step", "budget", "1.00 MB"],
        "graph": ["Graph of ", "inputs: %layers.", "op", "dot", "return"],
        "history": ["2 epochs", "val_loss", "learning_rate"],
        "predict": ["<lambda>, bound to Named", "f32[4,3]"],
        "compiled": ["compiled for cpu", "f64[3]", "bytes of arena"],
        "new": ["not called yet"],
        "diagnosis": ["Diagnosis of step 2", "norm of the gradient signal", "layer by layer"],
    }
    assert set(expected) == set(things)
    for name, texts in expected.items():
        found = checked(things[name])
        for text in texts:
            assert text in found.text, (name, text)
        assert len(things[name]._repr_html_()) < 40_000
    for name in ("step", "report", "plan", "history", "diagnosis"):
        assert "svg" in checked(things[name]).tags, name


def test_a_prompt_shows_each_in_a_few_lines(things: dict[str, Any]) -> None:
    for name, thing in things.items():
        shown = repr(thing)
        assert len(shown.splitlines()) <= 7, name
        assert len(shown) < 300, name
        assert "object at 0x" not in shown, name
    assert repr(things["step"]).startswith("<Step of Named with AdamW, 2 steps done, ")
    assert repr(things["plan"]).startswith("<StepPlan of ")
    assert repr(things["report"]).startswith("<MemoryReport of ")
    assert repr(things["diagnosis"]).startswith("<Diagnosis of step 2: loss 0.")
    assert repr(things["compiled"]).startswith("<compiled <lambda> for cpu")
    assert repr(things["compiled"]).endswith(", 1 program>")
    assert repr(things["plan"].plan).startswith("<Plan of ")
    assert repr(things["step"].compile_report).startswith("<CompileReport of ")
    assert repr(gl.data.Windows(np.arange(100), 5)) == "<Windows: 19 of 5 tokens>"
    assert repr(gl.grad(np.sin)) == "<grad of sin>"
    assert repr(gl.callbacks.EarlyStopping("loss")) == "EarlyStopping(monitor='loss')"
    assert repr(gl.data.Arrays(BATCH, 2).map(np.copy)) == "<Mapped of 2 batches in an epoch>"
    assert repr(gl.data.Arrays(BATCH, 2)) == "Arrays(4 examples, batch_size=2, 2 batches an epoch)"


def test_names_are_text_and_never_html() -> None:
    graph = gl.parse(str(gl.trace(lambda x: np.tanh(x), np.ones(3))))
    found = checked(graph)
    assert "tanh" in found.text
    found = checked(block(HOSTILE, table([[HOSTILE]], [HOSTILE]), line_chart([(HOSTILE, [1.0, 2.0])], title=HOSTILE)))
    assert found.text.count("<script>alert('x')</script>&\\x1b[31m") == 4
    history = History([{"epoch": 1, HOSTILE: HOSTILE, "loss": float("nan")}])
    assert "<script>" in checked(history).text


def test_charts_of_few_points_of_one_value_and_of_none() -> None:
    assert line_chart([("none", [])]) == ""
    assert line_chart([("nan", [float("nan"), float("inf")])]) == ""
    for values in ([1.0], [2.0, 2.0], [0.0, float("nan"), 3.0], [-1.0, 1.0]):
        for filled in (False, True):
            chart = line_chart([("one", values), ("two", values[:1])], filled=filled)
            checked(chart)
            assert "nan" not in chart


def test_a_long_graph_and_a_deep_model_are_cut() -> None:
    def many(x: Any) -> Any:
        for _ in range(800):
            x = np.tanh(x)
        return x

    html = gl.trace(many, np.ones(3))._repr_html_()
    assert "more lines: print(graph)" in html
    assert len(html) < 40_000
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(100)))
    found = checked(model)
    assert "and 76 more" in found.text
    assert "details" in found.tags


def test_layers_whose_shapes_the_first_batch_tells_are_shown() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))
    assert "parameters: 10 and more" in checked(model).text


def test_ipython_finds_the_html(things: dict[str, Any]) -> None:
    formatters: Any = pytest.importorskip("IPython.core.formatters")
    formatter = formatters.HTMLFormatter()
    for name, thing in things.items():
        assert formatter(thing) == thing._repr_html_(), name
