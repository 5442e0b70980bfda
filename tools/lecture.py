"""`gradloom lecture`: the experiments of the lecture, one or all, and a page of what came of them."""

from __future__ import annotations

import html
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..engine.saving.replace_file import replacing
from .command_error import CommandError
from .say import say


@dataclass(frozen=True)
class LectureOptions:
    """What `lecture` was asked for."""

    name: str | None = None
    list: bool = False
    all: bool = False
    full: bool = False
    data: str | None = None
    out: str | None = None


@dataclass
class _Done:
    """What came of the experiments that were run: outcomes with their seconds, and why others failed, by name."""

    outcomes: list[tuple[Any, Any, float]] = field(default_factory=list[tuple[Any, Any, float]])
    failed: dict[str, str] = field(default_factory=dict[str, str])


_PAGE = "lecture.html"


def run_lecture(options: LectureOptions, console: Console) -> int:
    """List the experiments, or run one or all. The exit code: 1 where one fails, or does not agree with the lecture.

    What was done until Ctrl-C is written too.
    """
    from ..examples.lecture import NAMES, harness  # which the other commands need not wait for

    if sum((options.name is not None, options.list, options.all)) != 1:
        raise CommandError("name one experiment, or write --list or --all")
    if options.list:
        width = max(map(len, NAMES))
        for each in harness.experiments():
            say(console, f"{each.name:{width}}  {each.title}")
        return 0
    if options.name is not None and options.name not in NAMES:
        raise CommandError(f"there is no experiment {options.name!r}; gradloom lecture --list has {len(NAMES)}")
    if options.data is not None and not Path(options.data).is_file():
        raise CommandError(f"{options.data}: there is no such file")
    out = options.out or (_PAGE if options.all else None)
    if out is not None:
        out = str(Path(out) / _PAGE) if Path(out).is_dir() else out
        _check_drawing(out)
    setting = harness.Setting(options.full, options.data)
    chosen = harness.experiments() if options.all else [harness.experiment(str(options.name))]
    done = _Done()
    try:
        _run(chosen, setting, console, done)
    finally:
        if out is not None and (done.outcomes or done.failed):
            with replacing(out) as file:
                file.write(_page(done).encode())
            say(console, f"wrote {out}")
    for name, why in done.failed.items():
        say(console, f"{name} failed: {why}")
    return 0 if not done.failed and all(outcome.agrees for _, outcome, _ in done.outcomes) else 1


def _check_drawing(out: str) -> None:
    """Raise `CommandError` where nothing could be drawn or written, before anything takes time."""
    if not Path(out).resolve().parent.is_dir():
        raise CommandError(f"cannot write {out}: there is no folder {Path(out).parent}")
    try:
        import matplotlib  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise CommandError("figures are drawn by matplotlib, which is not installed; pip install matplotlib") from None


def _run(chosen: Sequence[Any], setting: Any, console: Console, done: _Done) -> None:
    """Run experiments, each of which leaves what came of it in `done`; one that fails stops no other."""
    from ..examples.lecture import harness

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    bar = Progress(*columns, TimeElapsedColumn(), console=console, disable=len(chosen) == 1, transient=True)
    with bar:
        task = bar.add_task("", total=len(chosen))
        for each in chosen:
            bar.update(task, description=each.name)
            try:
                outcome, seconds = harness.timed(each, setting)
            except Exception as error:
                if len(chosen) == 1:
                    raise
                done.failed[each.name] = traceback.format_exception_only(error)[-1].strip()
                say(console, f"{each.name} failed: {done.failed[each.name]}\n")
            else:
                done.outcomes.append((each, outcome, seconds))
                harness.show(each, outcome, console)
                say(console, f"{seconds:.0f} s\n")
            bar.advance(task)


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: 0.2rem 0.8rem; border-bottom: 1px solid #ddd; }
td:not(:first-child), th:not(:first-child) { text-align: right; } th { text-align: left; vertical-align: bottom; }
svg { max-width: 100%; height: auto; } section { margin-bottom: 3rem; } nav li { margin: 0.1rem 0; }
.yes { color: #060; } .part { color: #850; } .no { color: #b00; }
"""


def _page(done: _Done) -> str:
    """All outcomes as one page that needs no network."""
    toc = "".join(
        f'<li><a href="#{each.name}">{html.escape(each.title)}</a> '
        f"{_verdict(outcome, outcome.verdict.split(':')[0])}</li>"
        for each, outcome, _ in done.outcomes
    )
    failed = "".join(
        f"<p class=no>{html.escape(name)} failed: {html.escape(why)}</p>" for name, why in done.failed.items()
    )
    sections = "".join(_section(each, outcome, seconds) for each, outcome, seconds in done.outcomes)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>The lecture\'s experiments</title>'
        f"<style>{_STYLE}</style><h1>The lecture's experiments</h1><nav><ol>{toc}</ol></nav>{failed}{sections}</html>"
    )


def _section(each: Any, outcome: Any, seconds: float) -> str:
    from ..examples.lecture import harness

    head = "".join(f"<th>{html.escape(column)}</th>" for column in outcome.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(harness.entry(value))}</td>" for value in row) + "</tr>"
        for row in outcome.rows
    )
    figure = harness.figure(outcome)
    svg = figure[figure.index("<svg") :] if outcome.panels else ""
    return (
        f'<section id="{each.name}"><h2>{html.escape(each.title)}</h2>'
        f"<p>{html.escape(harness.said(each, outcome))} {_verdict(outcome, outcome.verdict)}</p>{svg}"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{seconds:.0f} s</p></section>"
    )


def _verdict(outcome: Any, text: str) -> str:
    kind = "no" if not outcome.agrees else "part" if outcome.unseen else "yes"
    return f"<span class={kind}>{html.escape(text.rstrip('.'))}.</span>"
