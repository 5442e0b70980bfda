"""A misspelt keyword is told the one that was meant, at the user's line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

X = {"x": np.ones((4, 2))}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: nn.Linear(3, 4, bais=False),
            r"Linear\(\) got an unexpected keyword argument 'bais'; similar: bias",
        ),
        (lambda: nn.Conv2d(3, 4, 3, strid=2), r"Conv2d\(\) got .*'strid'; similar: stride, at "),
        (lambda: nn.LSTM(3, 4, num_layer=2), r"LSTM\(\) got .*'num_layer'; similar: num_layers, at "),
        (lambda: nn.gelu(np.ones(3), aproximate="tanh"), r"gelu\(\) got .*; similar: approximate, at "),
        (lambda: gl.optim.AdamW(1e-3, weight_decy=0.1), "no argument 'weight_decy'; similar: weight_decay, at "),
        (lambda: gl.optim.Cosine(1e-3, stps=3), "no argument 'stps'; similar: steps, at "),
        (lambda: gl.optim.Cosine(1e-3, 3, min_lr=0), "no argument 'min_lr'; write final"),
        (lambda: gl.compile(np.sin, thread=2), r"compile\(\) got .*; similar: threads"),
        (lambda: gl.grad(np.sin, argnum=0), r"similar: argnums"),
        (lambda: gl.compile_step(1, 2, 3, 4, memry="1MB"), r"compile_step\(\) got .*'memry'; similar: memory"),
        (lambda: gl.plan_step(1, 2, 3, 4, clipnorm=1), r"plan_step\(\) got .*; write clip_norm, at "),
        (lambda: gl.fit(1, X, epoch=1), r"fit\(\) got .*'epoch'; similar: epochs"),
        (lambda: gl.fit(1, X, epochs=1, validation=X), r"'validation'; write validate=, at "),
        (lambda: gl.evaluate(1, X, metric=[]), r"similar: metrics"),
        (lambda: gl.data.batches(X, 2, shufle=True), r"batches\(\) got .*; similar: shuffle"),
        (lambda: gl.data.Arrays(X, 2, sed=1), r"Arrays\(\) got .*; similar: seed"),
        (lambda: gl.data.Loader(X, 2), r"gl\.data\.Loader is the base of loaders; write gl\.data\.batches"),
        (lambda: gl.callbacks.EarlyStopping(patiance=3), r"EarlyStopping\(\) got .*; similar: patience"),
        (lambda: gl.random.normal((3,), loc=3), r"normal\(\) got .*'loc'; there are dtype, shape, at "),
        (lambda: gl.numpy.sum(np.ones(3), dim=0), r"sum\(\) got .*'dim'; write axis=, at "),
        (lambda: gl.numpy.mean(np.ones(3), keepdim=True), r"write keepdims="),
        (lambda: gl.numpy.linalg.norm(np.ones(3), axes=0), r"write axis="),
    ],
)
def test_a_misspelt_keyword_is_told(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


def test_keywords_of_a_class_of_the_user_are_the_users() -> None:
    class Own(nn.Module):
        def __init__(self, **given: Any) -> None:
            super().__init__()
            self.given = given

    assert Own(anything=3).given == {"anything": 3}
