"""What `--allow` goes with."""

from __future__ import annotations

from .command_error import CommandError


def check_allow(allow: str | None, memory: str | None) -> None:
    """Raise `CommandError` where it comes without the budget that it is for."""
    if allow is not None and memory is None:
        raise CommandError(f"--allow {allow} is for a budget; give --memory too, or --precision kept={allow}")
