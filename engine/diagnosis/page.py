"""A diagnosis as one page for a browser, which needs no network."""

from __future__ import annotations

from html import escape

from ...ir.printable import printable
from .diagnosis import Diagnosis, LayerDiagnosis
from .picture import svg
from .table import cells, heading, words

_COLUMNS = ("layer", "variance", "zeros", "saturated", "dead", "non-finite", "‖δ‖ signal", "gradient", "update/weight")

_STYLE = """
:root { --paper: #f4f3ef; --card: #fffefb; --ink: #23262b; --soft: #6a6f78; --rule: #e2e0d8; --line: #c2352b;
  --good: #3a8f5c; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --paper: #14161a; --card: #1c1f25; --ink: #e6e7ea; --soft: #9ba1ac;
  --rule: #2d323a; --line: #ff7a6b; --good: #6fc492; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 18px; background: var(--paper); color: var(--ink);
  font: 13px/1.5 ui-sans-serif, system-ui, "Segoe UI", Roboto, "Liberation Sans", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; }
h1 { font-size: 19px; font-weight: 650; margin: 0; }
h2 { font-size: 13px; font-weight: 600; margin: 0 0 6px; }
p.step { color: var(--soft); margin: 2px 0 14px; }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 11px; padding: 12px 16px;
  margin: 0 0 12px; overflow-x: auto; }
ul { margin: 0; padding: 0; list-style: none; }
li { padding: 2px 0 2px 14px; border-left: 3px solid var(--line); margin: 5px 0; }
.healthy li { border-color: var(--good); }
table { border-collapse: collapse; width: 100%; }
th { color: var(--soft); font-weight: 500; text-align: right; position: sticky; top: 0; background: var(--card); }
td { text-align: right; border-top: 1px solid var(--rule); }
th, td { padding: 3px 8px; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td span { color: var(--soft); }
svg { width: 100%; height: auto; display: block; }
"""


def page(diagnosis: Diagnosis, title: str = "") -> str:
    """The text of the page: words, picture, table."""
    name = escape(printable(title or "How a training step goes through its layers"))
    kind = "" if diagnosis.findings else ' class="healthy"'
    said = "\n".join(f"<li>{escape(line)}</li>" for line in words(diagnosis))
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in _COLUMNS)
    rows = "\n".join(map(_row, diagnosis.layers))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{name}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{name}</h1>
<p class="step">{escape(heading(diagnosis))}</p>
<section{kind}><h2>What stands out</h2>
<ul>
{said}
</ul></section>
<section><h2>Over the depth</h2>
{svg(diagnosis)}
</section>
<section><h2>Layer by layer</h2>
<table>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody>
</table></section>
</body>
</html>
"""


def _row(layer: LayerDiagnosis) -> str:
    name, *figures = cells(layer)
    path, _, kind = name.partition("  ")
    shape = "×".join(map(str, layer.shape))
    first = f"<td>{escape(path)} <span>{escape(kind)} {shape}</span></td>"
    return f"<tr>{first}{''.join(f'<td>{escape(figure)}</td>' for figure in figures)}</tr>"
