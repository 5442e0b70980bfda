"""The graph that a budget chooses can be seen: in a dump, by `gradloom ir`, and its report says what chose it."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradloom as gl
import pytest
from gradloom import nn, optim
from gradloom.engine.report.schema import MemoryReport
from gradloom.ir import Graph, parse
from gradloom.passes.graph.rewrite import all_nodes, for_target
from gradloom.passes.pipeline import pipeline
from gradloom.passes.remat.candidates import PLANNERS, planner_words
from gradloom.passes.target import DEFAULT_TARGET
from gradloom.passes.variants import DEFAULT, VARIANTS, variant_named, variant_words
from gradloom.tools.cli import main

WIDTH = 16


class Recurrent(nn.Module):
    """A loop over time."""

    def __init__(self) -> None:
        self.rnn, self.out = nn.LSTM(WIDTH, WIDTH, batch_first=True), nn.Linear(WIDTH, 1)

    def forward(self, x: Any) -> Any:
        return self.out(self.rnn(x)[0])


def deep(n: int = 5) -> nn.Module:
    """A chain of layers of which all are read in the backward."""
    return nn.Sequential(*(m for _ in range(n) for m in (nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.BatchNorm1d(WIDTH))))


def mean_square(model: Any, x: Any) -> Any:
    return (model(x) ** 2).mean()


MODELS: dict[str, Callable[[], tuple[Any, ...]]] = {
    "a chain": lambda: (deep(), mean_square, optim.SGD(0.1), gl.spec((256, WIDTH))),
    "a loop": lambda: (Recurrent(), mean_square, optim.SGD(0.1), gl.spec((4, 32, WIDTH))),
    "rows": lambda: (nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(), nn.Linear(64, 1)), mean_square, optim.SGD(0.1),
                     gl.spec((512, WIDTH))),
}  # fmt: skip


@functools.cache
def unbounded(kind: str) -> gl.StepPlan:
    return gl.plan_step(*MODELS[kind](), threads=2)


def planned(kind: str, share: float) -> gl.StepPlan:
    """The plan with this share of the arena between the smallest and the one without a budget."""
    free = unbounded(kind)
    least, most = free.curve(2)[-1].total_bytes, free.report.total_bytes
    return gl.plan_step(*MODELS[kind](), threads=2, memory=int(least + share * (most - least)))


def recomputes(graph: Graph) -> int:
    return sum(node.origin.role == "recompute" for node in all_nodes(graph))


@pytest.mark.parametrize("kind", ["a chain", "a loop"])
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_a_dump_has_every_stage_up_to_the_graph_that_runs(
    kind: str, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GRADLOOM_DUMP", str(tmp_path))
    made = planned(kind, share)
    report, text = made.report, str(made.plan.graph)
    assert report.plan is made.plan
    chosen = (tmp_path / "chosen.txt").read_text()
    head, graph = chosen[: chosen.index("graph(")], chosen[chosen.index("graph(") :]
    assert graph == text + "\n"
    assert str(parse(chosen)) == text
    assert head.splitlines()[:2] == [
        f"# planner: {planner_words(report.planner)}",
        f"# variant: {variant_words(report.variant)}",
    ]
    # Of the variant that was chosen the last stage is what runs, and all are numbered in the order of the passes.
    variant = variant_named(report.variant)
    own = for_target(DEFAULT.passes, DEFAULT_TARGET)
    before = pipeline()[: len(pipeline()) - len(own)]
    stages = [step.name for step in (*before, *for_target(variant.passes, DEFAULT_TARGET))]
    stages += ["recompute"] if report.planner != "none" else []
    folder = tmp_path if report.variant == "default" else tmp_path / "variants" / report.variant
    last = max(folder.glob("[0-9]*.txt"))
    assert last.name == f"{len(stages):02}_{stages[-1]}.txt"
    assert last.read_text() == text + "\n"
    for file in folder.glob("[0-9]*.txt"):
        number, _, name = file.stem.partition("_")
        assert name == ["traced", *stages][int(number)]
        assert str(parse(file.read_text())) + "\n" == file.read_text()
    assert recomputes(made.plan.graph) > 0
    assert len(re.findall(r" recompute$", graph, re.MULTILINE)) == recomputes(made.plan.graph)


def test_a_chain_is_recomputed_by_a_planner_and_a_loop_by_a_variant():
    planner = planned("a chain", 0.5).report.planner
    assert planner != "none"
    assert {one.removesuffix(" in loops") for part in planner.split(", ") for one in part.split("+")} <= PLANNERS.keys()
    assert planned("a loop", 0.0).report.variant.startswith("checkpoint-scans")


def test_without_a_budget_the_pipeline_itself_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRADLOOM_DUMP", str(tmp_path))
    made = gl.plan_step(*MODELS["rows"]())
    assert (made.report.planner, made.report.variant) == ("none", "default")
    assert not (tmp_path / "variants").exists()
    assert max(tmp_path.glob("[0-9]*.txt")).read_text() == str(made.plan.graph) + "\n"
    assert str(parse((tmp_path / "chosen.txt").read_text())) == str(made.plan.graph)


def test_plans_for_other_batches_and_without_checkpoints_are_not_dumped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def loss(model: Any, x: Any) -> Any:
        return (gl.checkpoint(model)(x) ** 2).mean()

    monkeypatch.setenv("GRADLOOM_DUMP", str(tmp_path))
    made = gl.plan_step(deep(3), loss, optim.SGD(0.1), gl.spec((64, WIDTH)))
    before = {file: file.read_text() for file in tmp_path.rglob("*.txt")}
    assert made.report.no_recompute_arena_bytes
    assert made.largest_batch(made.report.total_bytes * 2) > 64
    changed = {file for file, text in before.items() if file.read_text() != text}
    assert not changed
    assert recomputes(parse(max(tmp_path.glob("[0-9]*.txt")).read_text())) > 0


def test_smaller_tiles_are_a_variant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRADLOOM_DUMP", str(tmp_path))
    free = unbounded("rows")
    with pytest.raises(gl.MemoryBudgetError) as error:
        gl.plan_step(*MODELS["rows"](), threads=2, memory=2000)
    assert "planner: " in str(error.value)
    assert "variant: smaller-tiles-" in str(error.value)
    made = gl.plan_step(*MODELS["rows"](), threads=2, memory=error.value.least_bytes)
    assert made.report.total_bytes < free.curve(2)[-1].total_bytes
    assert made.report.variant.startswith("smaller-tiles-")
    assert made.report.other_bits
    assert str(parse((tmp_path / "chosen.txt").read_text())) == str(made.plan.graph)
    folder = tmp_path / "variants" / made.report.variant
    assert max(folder.glob("[0-9]*.txt")).read_text() == str(made.plan.graph) + "\n"


@pytest.mark.parametrize("kind", ["a chain", "a loop"])
def test_a_report_says_what_chose_it_and_why_each_value_is_there(kind: str, tmp_path: Path):
    report = planned(kind, 0.3).report
    report.check()
    assert f"planner: {report.planner}" in str(report)
    assert f"variant: {report.variant}" in str(report)
    read = MemoryReport.from_json(report.to_json())
    assert (read.planner, read.variant) == (report.planner, report.variant)
    page = tmp_path / "page.html"
    report.to_html(page)
    assert f'"planner":"{report.planner}' in page.read_text()
    assert f'"variant":"{report.variant}' in page.read_text()
    kept = [v.why for v in report.values if v.status == "kept"]
    again = [v.why for v in report.values if v.status == "recomputed"]
    assert kept
    assert again
    effort = r"reads? [\d.]+ times its bytes and takes? ([\d.]+%|less than 0\.1%) of the step"
    reasons = (
        rf"recomputing it would {effort}|its unit cannot run a second time|so few bytes always stay"
        "|.* no longer there when it is read"
    )
    assert all(re.fullmatch(rf"kept: read in the backward by .*; ({reasons})", why) for why in kept)
    planner, pipeline = f"for the budget, by the planner {report.planner}", f"by the pipeline, variant {report.variant}"
    by = re.compile(rf"({re.escape(planner)}|{re.escape(pipeline)}|\d of \d alike .*, \d of \d alike .*)")
    for why in again:
        assert re.fullmatch(rf"recomputed .*; this {effort}(; read by .*)?", why)
        assert by.fullmatch(why.removeprefix("recomputed ").partition(";")[0])


def test_what_a_checkpoint_marks_is_recomputed_for_it():
    def loss(model: Any, x: Any) -> Any:
        return (gl.checkpoint(model)(x) ** 2).mean()

    report = gl.plan_step(deep(3), loss, optim.SGD(0.1), gl.spec((64, WIDTH))).report
    whys = [v.why for v in report.values if v.status == "recomputed"]
    assert whys
    assert all(why.startswith("recomputed because gl.checkpoint marks it; ") for why in whys)


def test_ir_prints_the_graph_that_a_budget_chooses(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import gradloom as gl\nfrom gradloom import nn, optim\n\n\ndef recipe():\n"
        "    layers = [m for _ in range(5) for m in (nn.Linear(16, 16), nn.Tanh(), nn.BatchNorm1d(16))]\n"
        "    return nn.Sequential(*layers), lambda m, x: (m(x) ** 2).mean(), optim.SGD(0.1), gl.spec((256, 16))\n"
    )
    whole = gl.plan_step(*MODELS["a chain"]()).report.total_bytes
    texts: list[str] = []
    for memory in ("80%", f"{whole * 8 // 10}", "1GB"):
        assert main(["ir", f"{file}:recipe", "--memory", memory]) == 0
        texts.append(capsys.readouterr().out.rstrip("\n"))
        assert str(parse(texts[-1])) == texts[-1]
    assert texts[0] == texts[1]
    assert " recompute\n" in texts[0]
    assert " recompute" not in texts[2]
    assert main(["ir", f"{file}:recipe", "--after", "schedule"]) == 0
    assert capsys.readouterr().out.rstrip("\n") == texts[2]


def test_every_name_of_a_planner_and_a_variant_has_words():
    for name in PLANNERS:
        assert planner_words(name) == f"{name}: {PLANNERS[name]}"
    assert planner_words("chain+keep-more, eviction in loops").count(";") == 2
    for variant in (DEFAULT, *VARIANTS):
        assert variant_words(variant.name) == f"{variant.name}: {variant.why}"
        assert variant_named(variant.name) is variant
    assert len({variant.name for variant in (DEFAULT, *VARIANTS)}) == 1 + len(VARIANTS)
    # Each module of a planner has words.
    files = (Path(gl.__file__).parent / "passes/remat/planners").glob("[a-z]*.py")
    assert PLANNERS.keys() - {"none", "offload"} == {file.stem.replace("_", "-") for file in files}
    # A report that another version wrote may have others.
    assert variant_words("another") == planner_words("another") == "another"


def test_where_a_checkpoint_and_the_planner_recompute_alike_both_are_named():
    class Net(nn.Module):
        def __init__(self) -> None:
            self.block = nn.Sequential(nn.Linear(32, 128), nn.Tanh(), nn.Linear(128, 32))

        def forward(self, x: Any) -> Any:
            for i in range(6):
                x = x + (gl.checkpoint(self.block)(x) if i == 2 else self.block(x))
            return x

    def loss(model: Any, x: Any) -> Any:
        return (model(x) ** 2).mean()

    report = gl.plan_step(Net(), loss, optim.SGD(0.1), gl.spec((64, 32)), memory="75%").report
    whys = [v.why for v in report.values if v.status == "recomputed" and "of" in v.why and "alike" in v.why]
    assert whys
    both = r"1 of \d alike because gl.checkpoint marks it, \d of \d alike for the budget"
    assert all(re.search(both, why) for why in whys)


def test_a_refused_step_leaves_no_chosen_graph_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRADLOOM_DUMP", str(tmp_path))
    gl.plan_step(*MODELS["a chain"]())
    assert (tmp_path / "chosen.txt").exists()
    with pytest.raises(gl.MemoryBudgetError):
        gl.plan_step(*MODELS["a chain"](), memory=1000)
    assert not (tmp_path / "chosen.txt").exists()
