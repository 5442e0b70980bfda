"""Functions around a module's forward: what they see, what they change, and how they are taken away."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

X = np.linspace(-1, 1, 6, dtype="float32").reshape(2, 3)


class Scaled(nn.Module):
    def forward(self, x: Any, factor: float = 1.0) -> Any:
        return x * factor


def run(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    return nn.functional_call(module, {}, *args, **kwargs)


def test_hooks_see_arguments_and_results_and_change_them() -> None:
    module, seen = Scaled(), []
    before = module.register_forward_pre_hook(lambda m, args: seen.append((m, args)))
    module.register_forward_pre_hook(lambda m, args: (args[0] + 1, 3.0))
    module.register_forward_pre_hook(lambda m, args, kwargs: seen.append(kwargs), with_kwargs=True, prepend=True)
    after = module.register_forward_hook(lambda m, args, result: result * 2)
    with module.register_forward_hook(lambda m, args, kwargs, result: seen.append(result), with_kwargs=True):
        np.testing.assert_array_equal(run(module, X), (X + 1) * 6)
    assert seen[0] == {}
    assert seen[1][0] is module
    np.testing.assert_array_equal(seen[1][1][0], X)
    np.testing.assert_array_equal(seen[2], (X + 1) * 6)
    after.remove()
    before.remove()
    before.remove()
    np.testing.assert_array_equal(run(module, X), (X + 1) * 3)
    assert len(seen) == 4


def test_a_hook_before_that_takes_keywords_gives_both() -> None:
    module = Scaled()
    module.register_forward_pre_hook(lambda m, args, kwargs: (args, {"factor": 5.0}), with_kwargs=True)
    np.testing.assert_array_equal(run(module, X, factor=2.0), X * 5)
    module.register_forward_pre_hook(lambda m, args, kwargs: args[0], with_kwargs=True)
    with pytest.raises(RuntimeError, match=r"gives None or \(args, kwargs\), got ndarray"):
        run(module, X)


def test_a_step_is_traced_with_its_hooks_and_told_of_later_ones() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    kept: list[Any] = []
    model[0].register_forward_hook(lambda m, args, result: kept.append(result))
    model[1].register_forward_hook(lambda m, args, result: result * 0 + 2)
    step = gl.compile_step(model, lambda m, x: m(x).mean() + 0 * kept[-1].mean(), gl.optim.SGD(0.1), X)
    assert step(X) == 2
    assert kept[0].shape == (2, 4)


def test_what_is_no_hook() -> None:
    with pytest.raises(TypeError, match="a hook is a function, got int"):
        nn.ReLU().register_forward_hook(3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(NotImplementedError, match="always_call=True"):
        nn.ReLU().register_forward_hook(print, always_call=True)
    with pytest.raises(AttributeError, match=r"register_full_backward_hook'; gl\.custom_vjp"):
        nn.ReLU().register_full_backward_hook(print)


@pytest.mark.peers
def test_hooks_run_in_torchs_order() -> None:
    torch = pytest.importorskip("torch")

    def order(module: Any, call: Any) -> list[str]:
        found: list[str] = []
        module.register_forward_pre_hook(lambda *_: found.append("first before"))
        module.register_forward_pre_hook(lambda *_: found.append("prepended before"), prepend=True)
        module.register_forward_hook(lambda *_: found.append("first after"))
        module.register_forward_hook(lambda *_: found.append("prepended after"), prepend=True)
        module.register_forward_hook(lambda *_: found.append("with keywords"), with_kwargs=True)
        call(module)
        return found

    theirs = order(torch.nn.ReLU(), lambda m: m(torch.tensor(X)))
    assert order(nn.ReLU(), lambda m: run(m, X)) == theirs
