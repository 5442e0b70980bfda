"""Texts as tokens: bytes, characters, or pairs that were merged; and windows of them to predict the next token in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...ir import Array
from ..tracing.errors import located
from ..tracing.keywords import tells_keywords
from ..tracing.numbers import as_whole
from .array_files import DataError


def read_text(*paths: str | os.PathLike[str]) -> str:
    """The text of one file or several, in UTF-8, one after the other. Raises `DataError` where there is none."""
    texts: list[str] = []
    for path in paths:
        try:
            texts.append(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(located(f"{os.fsdecode(path)} cannot be read as text in UTF-8: {error}")) from error
    return "".join(texts)


class ByteTokenizer:
    """A token a byte of UTF-8: 256 of them, and any text has tokens."""

    vocab_size = 256

    def encode(self, text: str) -> Array:
        """The tokens of a text, int64."""
        return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64)

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens; bytes that are no text become U+FFFD."""
        return bytes(int(token) for token in tokens).decode("utf-8", "replace")


class CharTokenizer:
    """A token a character of those that a text has, in the order of their code points.

    `unknown`, a character, stands for those that it does not have; without one these raise `ValueError`.
    """

    def __repr__(self) -> str:
        return f"<CharTokenizer of {len(self.characters)} characters>"

    @tells_keywords
    def __init__(self, characters: Iterable[str], unknown: str | None = None) -> None:
        if unknown is not None and len(unknown) != 1:
            raise ValueError(located(f"unknown is one character, got {unknown!r}"))
        self.characters = "".join(sorted({*characters, *([] if unknown is None else [unknown])}))
        if not self.characters:
            raise ValueError(located("there are no characters to make tokens of"))
        self.unknown = unknown
        self._points = np.array([ord(c) for c in self.characters])

    @property
    def vocab_size(self) -> int:
        """How many tokens there are."""
        return len(self.characters)

    def encode(self, text: str) -> Array:
        """The tokens of a text, int64."""
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.int64)
        found = np.minimum(np.searchsorted(self._points, points), len(self._points) - 1)
        wrong = self._points[found] != points
        if wrong.any():
            if self.unknown is None:
                first = chr(points[wrong.argmax()])
                raise ValueError(
                    located(f"the character {first!r} has no token; write CharTokenizer(..., unknown='?')")
                )
            found[wrong] = self.characters.index(self.unknown)
        return found

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens. Raises `ValueError` for what is no token."""
        numbers = [int(token) for token in tokens]
        wrong = next((number for number in numbers if not 0 <= number < self.vocab_size), None)
        if wrong is not None:
            raise ValueError(located(f"there are {self.vocab_size} tokens, from 0 on, and none of number {wrong}"))
        return "".join(self.characters[number] for number in numbers)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a JSON file."""
        Path(path).write_text(json.dumps({"characters": self.characters, "unknown": self.unknown}), encoding="utf-8")

    @staticmethod
    def load(path: str | os.PathLike[str]) -> CharTokenizer:
        """Read what `save` wrote. Raises `DataError` for anything else."""
        try:
            held = json.loads(read_text(path))
            return CharTokenizer(held["characters"], held["unknown"])
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(located(f"{os.fsdecode(path)} holds no characters: {error}")) from error


class BPETokenizer:
    """Byte-pair encoding over bytes, as GPT-2's, by the package `tokenizers`.

    `BPETokenizer.train(text, 1000)` learns one, `load` reads a `tokenizer.json` of Hugging Face. Raises `ImportError`
    where the package is not installed.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @staticmethod
    def train(texts: str | Iterable[str], vocab_size: int, special_tokens: Sequence[str] = ()) -> BPETokenizer:
        """Learn merges until there are `vocab_size` tokens, or none that is worth one."""
        package = _tokenizers()
        tokenizer = package.Tokenizer(package.models.BPE())
        tokenizer.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = package.decoders.ByteLevel()
        trainer = package.trainers.BpeTrainer(
            vocab_size=vocab_size,
            show_progress=False,
            special_tokens=list(special_tokens),
            initial_alphabet=package.pre_tokenizers.ByteLevel.alphabet(),
        )
        tokenizer.train_from_iterator([texts] if isinstance(texts, str) else texts, trainer)
        return BPETokenizer(tokenizer)

    @property
    def vocab_size(self) -> int:
        """How many tokens there are."""
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> Array:
        """The tokens of a text, int64."""
        return np.array(self._tokenizer.encode(text).ids, np.int64)

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens."""
        return self._tokenizer.decode([int(token) for token in tokens])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a `tokenizer.json`."""
        self._tokenizer.save(os.fsdecode(path))

    @staticmethod
    def load(path: str | os.PathLike[str]) -> BPETokenizer:
        """Read a `tokenizer.json`. Raises `DataError` for anything else."""
        package = _tokenizers()
        text = read_text(path)
        try:
            return BPETokenizer(package.Tokenizer.from_str(text))
        except Exception as error:  # the package raises plain Exception
            raise DataError(located(f"{os.fsdecode(path)} is no tokenizer.json: {error}")) from error


def _tokenizers() -> Any:
    try:
        import tokenizers  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError(
            located("byte pairs are merged by tokenizers, which is not installed; pip install tokenizers")
        ) from None
    return tokenizers


class Windows:
    """A dataset of windows of a sequence of tokens: `{"x": `length` tokens, "y": the next one of each}`.

    They begin `stride` tokens apart, by default `length`: each token is predicted once. Raises `ValueError` where the
    sequence holds no window.
    """

    @tells_keywords
    def __init__(self, tokens: Any, length: int, stride: int | None = None) -> None:
        self.tokens = tokens if isinstance(tokens, np.ndarray) else np.asarray(tokens)
        sizes = as_whole(length), as_whole(length if stride is None else stride)
        if self.tokens.ndim != 1 or self.tokens.dtype.kind not in "iu":
            raise TypeError(
                located(f"tokens are whole numbers in one axis, got {self.tokens.dtype} of {self.tokens.shape}")
            )
        if None in sizes or min(sizes) < 1:  # pyright: ignore[reportArgumentType]
            raise ValueError(
                located(f"length and stride are whole numbers of 1 or more, got {length!r} and {stride!r}")
            )
        self.length, self.stride = int(sizes[0] or 1), int(sizes[1] or 1)
        if len(self.tokens) <= self.length:
            raise ValueError(
                located(f"{len(self.tokens)} tokens hold no window of {self.length} and the token after it")
            )

    def __repr__(self) -> str:
        return f"<Windows: {len(self)} of {self.length} tokens>"

    def __len__(self) -> int:
        return (len(self.tokens) - 1 - self.length) // self.stride + 1

    def __getitem__(self, i: int) -> dict[str, Array]:
        if not -len(self) <= i < len(self):
            raise IndexError(located(f"there are {len(self)} windows, and none of number {i}"))
        begin = (i % len(self)) * self.stride
        window = np.asarray(self.tokens[begin : begin + self.length + 1])
        return {"x": window[:-1], "y": window[1:]}
