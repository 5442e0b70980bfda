"""Texts to train on: read, as numbers of their characters, in windows and in a held-out part."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from ...ir import Array
from ..data import DataError

IGNORED = -100
"""The label behind the end of a text, as torch has it."""


def python_documentation() -> str:
    """The reference texts that `help()` shows, which come with Python: about 460,000 characters.

    Raises `DataError` where this Python came without them.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise DataError("this Python comes without pydoc_data.topics; give --data FILE.txt") from None
    return "\n".join(topics[name] for name in sorted(topics))


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a UTF-8 file. Raises `DataError` where there is none."""
    if not Path(path).is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no text in UTF-8: {error}") from error
    if "\0" in text:
        raise DataError(f"{path} is no text: it holds characters of value 0, as binary files do")
    return text


class Corpus:
    """A text as numbers of its characters, which are the vocabulary in order; its last tenth is held out.

    Raises `DataError` where the text is too short for windows of `context` characters.
    """

    def __init__(self, text: str, context: int) -> None:
        self.characters = "".join(sorted(set(text)))
        self.context = context
        tokens = self.encode(text)
        self.train, self.held_out = np.split(tokens, [len(tokens) - len(tokens) // 10])
        if len(self.train) < context + 1 or len(self.held_out) < 2:
            least = next(n for n in itertools.count(max(20, context * 10 // 9 - 10)) if n - n // 10 > context)
            raise DataError(
                f"a text of {len(text):,} characters is too short for windows of {context} characters; "
                f"it takes {least:,} or more"
            )

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {character: number for number, character in enumerate(self.characters)}

    def encode(self, text: str) -> Array:
        """The numbers of the characters, int64. Raises `DataError` for a character that is not in the vocabulary."""
        try:
            return np.array([self._numbers[character] for character in text], np.int64)
        except KeyError as error:
            raise DataError(f"the character {error.args[0]!r} is not in the vocabulary") from None

    def batch(self, size: int, seed: int, step: int) -> dict[str, Array]:
        """`size` windows of the training part, by `seed` and `step` alone: "x", and the characters that follow, "y"."""
        starts = np.random.default_rng([seed, step]).integers(0, len(self.train) - self.context, size)
        windows = self.train[starts[:, None] + np.arange(self.context + 1)]
        return {"x": windows[:, :-1].copy(), "y": windows[:, 1:].copy()}

    def held_out_batches(self, size: int, most: int | None = None) -> Iterator[tuple[Array, Array]]:
        """The held-out part window after window, in batches (x, y); `most` of them, evenly spread, if given.

        Labels behind the end are -100, so that every character but the first is predicted exactly once.
        """
        span = size * self.context
        starts = np.arange(0, len(self.held_out) - 1, span)
        if most is not None and len(starts) > most:
            starts = starts[np.linspace(0, len(starts) - 1, most).astype(int)]
        for start in starts:
            piece = self.held_out[start : start + span + 1]
            x, y = np.zeros(span, np.int64), np.full(span, IGNORED, np.int64)
            x[: len(piece) - 1], y[: len(piece) - 1] = piece[:-1], piece[1:]
            yield x.reshape(size, self.context), y.reshape(size, self.context)
