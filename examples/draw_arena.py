"""Draws the arena of a training step: every temporary at its planned offset, from the phase it is born to its last use.

python examples/draw_arena.py digits examples/pictures/arena.svg
"""

from __future__ import annotations

import argparse
from html import escape
from pathlib import Path

import gradloom as gl
from gradloom.engine.report import ValueReport, human
from gradloom.tools.find_recipe import make_recipe

WIDTH, HEIGHT = 880, 430
LEFT, TOP, RIGHT, BOTTOM = 92, 64, 20, 84
FONT = 'font-family="sans-serif" font-size="12"'

COLOURS = {
    "kept for the backward": "#2c5f8a",
    "of the forward": "#8fbce0",
    "of the backward": "#f0b66b",
    "gradient of a parameter": "#c0562b",
    "scratch": "#b9bec6",
    "computed again": "#5d9c68",
}
DARK = {"kept for the backward", "gradient of a parameter", "computed again"}


def kind(value: ValueReport) -> str:
    """What a value is, in the words of the legend."""
    if value.status == "recomputed":
        return "computed again"
    if value.status == "kept":
        return "kept for the backward"
    if value.name == "scratch":
        return "scratch"
    if "gradient" in value.why:
        return "gradient of a parameter"
    return "of the forward" if "forward" in value.why else "of the backward"


def svg(report: gl.MemoryReport, title: str) -> str:
    """The picture as the text of an SVG file."""
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    phase, byte = width / report.phases, height / report.arena_bytes
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {FONT}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="26" font-size="16" fill="#222">{escape(title)}</text>',
        f'<text x="{LEFT}" y="46" fill="#555">{report.arena_bytes:,} bytes; the most that is live at once is '
        f"{report.lower_bound_bytes:,}</text>",
        f'<rect x="{LEFT}" y="{TOP}" width="{width}" height="{height}" fill="#f6f6f4" stroke="#999"/>',
    ]
    used: list[str] = []
    for value in sorted(report.values, key=lambda v: (v.birth, v.offset)):
        # A value that is made in place of another begins in the phase in which that one ends, and is drawn over it.
        last = min(value.death, report.phases - 1)
        x, y = LEFT + value.birth * phase, TOP + height - (value.offset + value.bytes) * byte
        w, h = (last - value.birth + 1) * phase, value.bytes * byte
        what = kind(value)
        used.append(what)
        about = f"{value.name} {value.scope}: {human(value.bytes)} at {value.offset:,}, phases {value.birth} to {last}"
        parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{max(h, 0.6):.1f}" fill="{COLOURS[what]}" '
            f'stroke="#ffffff" stroke-width="{0.8 if h > 3 else 0}"><title>{escape(about)}</title></rect>'
        )
        label = f"{value.name} {value.scope}".strip()
        if h > 14 and w > 7 * len(label):
            colour = "#ffffff" if what in DARK else "#222"
            parts.append(f'<text x="{x + 5:.1f}" y="{y + h / 2 + 4:.1f}" fill="{colour}">{escape(label)}</text>')
    for i in range(report.phases):
        x = LEFT + (i + 0.5) * phase
        parts.append(f'<text x="{x:.1f}" y="{TOP + height + 16}" fill="#555" text-anchor="middle">{i}</text>')
    for tenth in range(0, 11, 2):
        y = TOP + height - tenth / 10 * height
        label = human(report.arena_bytes * tenth / 10)
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" fill="#555" text-anchor="end">{label}</text>')
    middle = f'x="{LEFT + width / 2}" y="{TOP + height + 36}" text-anchor="middle"'
    parts.append(f'<text {middle} fill="#555">phases of the step</text>')
    x = LEFT
    for what in COLOURS:
        if what in used:
            parts.append(f'<rect x="{x}" y="{HEIGHT - 26}" width="12" height="12" fill="{COLOURS[what]}"/>')
            parts.append(f'<text x="{x + 17}" y="{HEIGHT - 16}" fill="#333">{what}</text>')
            x += 34 + 7 * len(what)
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("recipe", help="a recipe, as for `gradloom train`")
    parser.add_argument("out", type=Path, help="the SVG file to write")
    options = parser.parse_args()
    ingredients = make_recipe(options.recipe)
    report = gl.plan_step(*ingredients, threads=1).report
    options.out.write_text(svg(report, f"The arena of one training step of {options.recipe}"))
