"""`gradloom lecture`: the experiments of the lecture, one or all, and a page of what came of them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
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


def run_lecture(options: LectureOptions, console: Console) -> int:
    """List the experiments, or run one or all. The exit code: 1 where one does not agree with the lecture."""
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
    out = options.out or ("lecture.html" if options.all else None)
    if out is not None:
        _check_drawing(out)
    setting = harness.Setting(options.full, options.data)
    chosen = harness.experiments() if options.all else [harness.experiment(str(options.name))]
    done = _run(chosen, setting, console)
    if out is not None:
        with replacing(out) as file:
            file.write(_page(done).encode())
        say(console, f"wrote {out}")
    return 0 if all(outcome.agrees for _, outcome, _ in done) else 1


def _check_drawing(out: str) -> None:
    """Raise `CommandError` where nothing could be drawn or written, before anything takes time."""
    if not Path(out).resolve().parent.is_dir():
        raise CommandError(f"cannot write {out}: there is no folder {Path(out).parent}")
    try:
        import matplotlib  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise CommandError("figures are drawn by matplotlib, which is not installed; pip install matplotlib") from None


def _run(chosen: Sequence[Any], setting: Any, console: Console) -> list[tuple[Any, Any, float]]:
    from ..examples.lecture import harness

    done: list[tuple[Any, Any, float]] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    bar = Progress(*columns, TimeElapsedColumn(), console=console, disable=len(chosen) == 1, transient=True)
    with bar:
        task = bar.add_task("", total=len(chosen))
        for each in chosen:
            bar.update(task, description=each.name)
            outcome, seconds = harness.timed(each, setting)
            done.append((each, outcome, seconds))
            harness.show(each, outcome, console)
            say(console, f"{seconds:.0f} s\n")
            bar.advance(task)
    return done


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: 0.2rem 0.8rem; border-bottom: 1px solid #ddd; }
td:not(:first-child), th:not(:first-child) { text-align: right; } svg { max-width: 100%; height: auto; }
section { margin-bottom: 3rem; } nav li { margin: 0.1rem 0; } .no { color: #b00; }
"""


def _page(done: Sequence[tuple[Any, Any, float]]) -> str:
    """All outcomes as one page that needs no network."""
    toc = "".join(
        f'<li><a href="#{each.name}">{html.escape(each.title)}</a>'
        f"{'' if outcome.agrees else ' <span class=no>does not agree</span>'}</li>"
        for each, outcome, _ in done
    )
    sections = "".join(_section(each, outcome, seconds) for each, outcome, seconds in done)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>The lecture\'s experiments</title>'
        f"<style>{_STYLE}</style><h1>The lecture's experiments</h1><nav><ol>{toc}</ol></nav>{sections}</html>"
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
        f"<p>{html.escape(harness.paragraph(each, outcome))}</p>{svg}"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{seconds:.0f} s</p></section>"
    )
