"""How a command says what it does: plainly."""

from __future__ import annotations

from rich.console import Console

from ..ir.printable import printable_lines


def say(console: Console, text: str) -> None:
    """Print without markup, colours, or line breaks of the console's own; what a terminal obeys comes as escapes."""
    console.print(printable_lines(text), soft_wrap=True, highlight=False, markup=False)
