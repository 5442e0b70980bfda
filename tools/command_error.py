"""The error of a command."""

from __future__ import annotations

from ..engine.ranks import Ranks


class CommandError(Exception):
    """What the user can put right: the message is printed by itself, and the command ends with exit code 2."""


class OfAllRanks(CommandError):
    """What all ranks of a command find wrong before they train: each ends by itself, and the first prints it."""

    def __init__(self, ranks: Ranks, message: str) -> None:
        super().__init__(message)
        self.is_first = ranks.rank == 0
