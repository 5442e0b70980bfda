"""A misspelt name finds the one that was meant."""

from __future__ import annotations

import gradloom as gl
import pytest
from gradloom.ir.near_names import near_names, nearest_names, similar


@pytest.mark.parametrize(
    ("name", "known", "near"),
    [
        ("BatchNorm2D", gl.nn.__all__, ["BatchNorm2d"]),
        ("Relu", gl.nn.__all__, ["ReLU"]),
        ("RELU", gl.nn.__all__, ["ReLU"]),
        ("crossentropy", gl.nn.functional.__all__, ["cross_entropy"]),
        ("adamw", gl.optim.__all__, ["AdamW"]),
        ("flip", ["RandomHorizontalFlip", "cutmix"], ["RandomHorizontalFlip"]),
        ("memry", ["memory", "seed", "target"], ["memory"]),
        ("min_lr", ["lr", "steps", "final"], []),
        ("", ["x", "y"], []),
        ("x", [], []),
    ],
)
def test_near_names(name: str, known: list[str], near: list[str]) -> None:
    assert near_names(name, known) == near


def test_the_nearest_come_first_however_far_they_are() -> None:
    assert nearest_names("wieght", ["bias", "weight", "running_mean"], 2) == ["weight", "running_mean"]
    assert nearest_names("q", ["b", "a"]) == ["b", "a"]


def test_the_words_say_what_to_write_where_only_the_case_differs() -> None:
    assert similar("relu_", ["ReLU", "relu6"], "nn.") == "write nn.ReLU"
    assert similar("rel", ["ReLU", "tanh"], "nn.") == "similar: nn.ReLU"
    assert similar("softplus", ["conv"]) is None


def test_a_text_of_a_million_letters_is_near_to_nothing_and_is_not_read_whole() -> None:
    assert near_names("a" * 10**6, ["aa", "b"]) == []
    assert nearest_names("a" * 10**6, ["b", "aa"]) == ["aa", "b"]
