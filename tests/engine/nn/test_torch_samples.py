"""Calls that torch tests its own functions and modules with: results and gradients are the same here, or the call is
refused for a reason that is listed. `python tests/torch_samples.py` prints how many.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import gradloom as gl
import pytest
import torch_samples
from gradloom import nn
from torch_samples import Outcome, functions, judged, judged_module, module_inputs, samples, some, tables

pytestmark = [pytest.mark.peers, pytest.mark.usefixtures("one_thread_for_torch")]

_FLOATS = "it is for floats, and says write .astype('float32')"
_WHOLE = ("int64", "uint8")
REFUSED: dict[tuple[str, str], str] = {
    **{
        ("batch_norm", dtype): "(0,) are no images; torch takes any shape without elements"
        for dtype in ("float32", "float64")
    },
    **{
        (name, dtype): _FLOATS
        for name in (
            "cosine_embedding_loss",
            "margin_ranking_loss",
            "max_pool2d",
            "max_pool3d",
            "pairwise_distance",
            "poisson_nll_loss",
            "triplet_margin_loss",
            "triplet_margin_with_distance_loss",
        )
        for dtype in _WHOLE
    },
    **{
        (name, "int64"): _FLOATS
        for name in (
            "avg_pool1d",
            "avg_pool2d",
            "avg_pool3d",
            "conv1d",
            "conv2d",
            "conv3d",
            "conv_transpose1d",
            "conv_transpose2d",
            "conv_transpose3d",
            "local_response_norm",
        )
    },
    ("cosine_embedding_loss", "bool"): _FLOATS,
    ("unfold", "bool"): _FLOATS,
    ("interpolate", "uint8"): "modes that compute new numbers are for floats",
    ("upsample_bilinear", "uint8"): "modes that compute new numbers are for floats",
}
"""Functions and dtypes of which calls are refused, and why."""
DIFFERENT: dict[tuple[str, str], str] = {
    ("softmin", "uint8"): "torch takes -x before it converts, and 1 becomes 255; here it is softmax(-x)",
}
"""Functions and dtypes whose results are not torch's, and why."""
REFUSED_MODULES = {
    "nn.FractionalMaxPool3d": "_random_samples of a batch for one volume: torch reads the first image's",
}
ACCEPTED = {
    "max_pool1d": "(0, L) gives (0, L'); torch refuses channels of which there are none",
    "max_pool3d": "(0, D, H, W) gives (0, D', H', W')",
}
"""Functions that take what torch's error samples say it refuses, and what they give."""


def _told(problems: list[tuple[Any, Outcome]]) -> str:
    return "\n".join(f"{call}: {outcome.kind}, {outcome.what[:200]}" for call, outcome in problems)


def _assert_functions_agree(dtype: str, most: int | None) -> Counter[str]:
    counts: Counter[str] = Counter()
    problems: list[tuple[Any, Outcome]] = []
    met: set[tuple[str, str]] = set()
    for name, entry in functions(dtype):
        for sample in some(samples(name, entry, dtype), most):
            outcome = judged(sample)
            counts[outcome.kind] += 1
            listed = {"refused": REFUSED, "wrong": DIFFERENT}.get(outcome.kind, {})
            if (name, dtype) in listed:
                met.add((name, dtype))
            elif outcome.kind not in ("agreed", "drawn"):
                problems.append((sample, outcome))
    assert not problems, _told(problems)
    stale = [key for key in (*REFUSED, *DIFFERENT) if key[1] == dtype and key not in met]
    assert most is not None or not stale
    return counts


def test_a_share_of_the_functions_samples_agrees() -> None:
    pytest.importorskip("torch")
    counts = _assert_functions_agree("float64", 6)
    assert counts["agreed"] > 400


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "uint8", "bool"])
def test_all_samples_of_functions_agree(dtype: str) -> None:
    pytest.importorskip("torch")
    counts = _assert_functions_agree(dtype, None)
    print(dtype, dict(counts))


def test_compiled_samples_agree() -> None:
    pytest.importorskip("torch")
    _assert_compiled(12)


@pytest.mark.slow
def test_a_sample_of_every_function_agrees_compiled() -> None:
    pytest.importorskip("torch")
    _assert_compiled(None)


def _assert_compiled(most: int | None) -> None:
    """One sample of each of so many functions, its gradients too, by a compiled program."""
    problems: list[tuple[Any, Outcome]] = []
    for name, entry in some(list(functions("float64")), most):
        sample = samples(name, entry, "float64")[-1]
        outcome = judged(sample, gl.compile)
        if outcome.kind not in ("agreed", "drawn"):
            problems.append((sample, outcome))
    assert not problems, _told(problems)


def _assert_modules_agree(most: int | None) -> Counter[str]:
    counts: Counter[str] = Counter()
    problems: list[tuple[Any, Outcome]] = []
    met: set[str] = set()
    for entry in tables()[1]:
        for training in (True, False):
            for inputs in some(module_inputs(entry, training), most):
                outcome = judged_module(entry, inputs, training)
                counts[outcome.kind] += 1
                if outcome.kind == "refused" and entry.name in REFUSED_MODULES:
                    met.add(entry.name)
                elif outcome.kind not in ("agreed", "drawn"):
                    problems.append((f"{entry.name}{inputs.constructor_input}, training={training}", outcome))
    assert not problems, _told(problems)
    assert most is not None or met == set(REFUSED_MODULES)
    return counts


def test_a_share_of_the_modules_samples_agrees() -> None:
    pytest.importorskip("torch")
    assert _assert_modules_agree(2)["agreed"] > 300


@pytest.mark.slow
def test_all_samples_of_modules_agree() -> None:
    pytest.importorskip("torch")
    print(dict(_assert_modules_agree(None)))


def _refusal(name: str, args: Any, kwargs: Any) -> str | None:
    """What a call says that fails; `None` where it does not."""
    try:
        with gl.random.key(0):
            getattr(nn.functional, name)(*args, **kwargs)
    except (NotImplementedError, TypeError, ValueError, IndexError) as error:
        return str(error)
    return None


def test_what_torch_refuses_is_refused_by_a_clear_error() -> None:
    pytest.importorskip("torch")
    met: set[str] = set()
    for name, entry in functions("float32"):
        for given in entry.error_inputs("cpu") if entry.error_inputs_func else ():
            sample = torch_samples.sample_of(name, given.sample_input)
            if any(t.dtype.is_complex for t in torch_samples.tensors((sample.args, sample.kwargs))):
                continue
            said = _refusal(name, *torch_samples.in_arrays((sample.args, sample.kwargs)))
            if said is None:
                assert name in ACCEPTED, f"{sample}: torch says {given.error_regex}"
                met.add(name)
            else:
                assert re.search(r", at \S+:\d+", said), f"{sample}: {said}"
    assert met == set(ACCEPTED)


def test_every_function_of_torchs_samples_is_here() -> None:
    pytest.importorskip("torch")
    names = {name for name, _ in functions("float64")} | {name for name, _ in functions("int64")}
    assert not [name for name in sorted(names) if not hasattr(nn.functional, name)]
    assert not [entry.name for entry in tables()[1] if not hasattr(nn, entry.name.removeprefix("nn."))]
    assert len(names) > 90
