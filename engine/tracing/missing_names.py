"""Names of torch's that are not here, of modules of Python, steps and models: what to write instead."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from ...ir.near_names import near_names, similar

_INSTEAD: dict[str, str] = {
    "DataLoader": "gl.data.batches(data, batch_size, seed=0); a DataLoader of torch's serves as it is",
    "DataParallel": "the model itself: its step runs on all cores",
    "Dense": "nn.Linear, with the number of inputs first",
    "ModelCheckpoint": "gl.callbacks.BestCheckpoint(path), or checkpoint=path of gl.fit",
    "TensorDataset": "a dict or a tuple of arrays, as in gl.data.batches({'x': x, 'y': y}, batch_size)",
    "clip_grad_norm": "the argument of gl.compile_step: clip_norm=",
    "device": "the argument of gl.compile_step and gl.compile: target=",
    "enable_grad": "gl.grad(f), wherever a derivative is wanted",
    "inference_mode": "step.bind(fn), whose function has no derivatives",
    "jit": "gl.compile(fn)",
    "manual_seed": "the argument of gl.compile_step: seed=; outside of a step `with gl.random.key(seed):`",
    "np": "gl.numpy",
    "no_grad": "gl.stop_gradient(x), or step.bind(fn), whose function has no derivatives",
    "rand": "gl.random.uniform(shape)",
    "rand_like": "gl.random.uniform(x.shape)",
    "randn": "gl.random.normal(shape)",
    "randn_like": "gl.random.normal(x.shape)",
    "randperm": "gl.random.permutation(n)",
    "multinomial": "gl.random.categorical(logits), or gl.random.choice(n, shape, p=p)",
    "tensor": "np.array",
    "Tensor": "np.ndarray",
    "DistributedDataParallel": "the argument of gl.compile_step: ranks=gl.ranks.mpi()",
    "clip_grad_norm_": "the argument of gl.compile_step: clip_norm=",
    "clip_grad_value_": "the argument of gl.compile_step: clip_value=",
    "clip_grads_with_norm_": "the argument of gl.compile_step: clip_norm=",
    "convert_conv2d_weight_memory_format": "the layer itself: layouts follow when a step is compiled",
    "convert_conv3d_weight_memory_format": "the layer itself: layouts follow when a step is compiled",
    "stateless": "nn.functional_call(model, values, x)",
    "grouped_mm": "np.matmul of stacked matrices (groups, m, k) and (groups, k, n)",
    "sdpa_kernel": "nn.scaled_dot_product_attention(q, k, v): its kernels follow when a step is planned",
    "SDPBackend": "nn.scaled_dot_product_attention(q, k, v): its kernels follow when a step is planned",
    "flex_attention": "nn.scaled_dot_product_attention(q, k, v, attn_mask=...), which adds a mask to the scores",
}


_OF_RANDOM: dict[str, str] = {
    "PRNGKey": "write with gl.random.key(seed):",
    "default_rng": "write with gl.random.key(seed):",
    "fold_in": "leave it away: every draw has a stream of its own",
    "seed": "write with gl.random.key(seed):",
    "shuffle": "write gl.random.permutation(x)",
    "split": "leave it away: every draw has a stream of its own",
}

_STEP = "gl.compile_step(model, loss_fn, optimizer, batch)"
_OF_A_STEP: dict[str, str] = {
    "lr": "write step.learning_rate",
    "param_groups": "write step.learning_rates, which can be set; gl.optim.groups makes groups",
    "zero_grad": "every step(batch) computes new gradients",
    "backward": "step(batch) computes gradients and updates the parameters",
    "step": "write step(batch), which updates the parameters",
    "update": "write step(batch), which updates the parameters",
    "train": "step(batch) trains, and what step.bind(fn) gives is in evaluation mode",
    "eval": "write step.bind(lambda model, x: model(x)), which is in evaluation mode",
    "predict": "write predict = step.bind(lambda model, x: model(x))",
    "forward": "write predict = step.bind(lambda model, x: model(x))",
    "fit": "write gl.fit(step, data, epochs=10)",
    "evaluate": "write gl.evaluate(step, data)",
    "model": "keep the model in a variable; its arrays are step.parameters()",
    "grad": "write step.gradients(batch); gl.grad(f) gives a function's",
}
_NO_DEVICE = "where a program runs is said when it is compiled: target="
_NO_BACKWARD_HOOK = "gl.custom_vjp(f) is a function with a derivative of its own, and sees that of its result"
_OF_A_MODULE: dict[str, str] = {
    "cuda": _NO_DEVICE,
    "cpu": _NO_DEVICE,
    "half": "numbers are float32 or float64: write model.to('float32')",
    "bfloat16": "numbers are float32 or float64: write model.to('float32')",
    "zero_grad": "every step(batch) computes new gradients",
    "backward": f"gradients are computed by a step: {_STEP}",
    "compile": f"write {_STEP}, or step.bind(fn)",
    "init": "write nn.init_parameters(model, seed)",
    "register_backward_hook": _NO_BACKWARD_HOOK,
    "register_full_backward_hook": _NO_BACKWARD_HOOK,
    "register_full_backward_pre_hook": _NO_BACKWARD_HOOK,
    "reset_parameters": "initial values are drawn when a step is compiled: nn.init_parameters(model, seed) gives them",
    "share_memory": "a step runs in one process, on all cores",
}


_OF_A_PARAMETER: dict[str, str] = {
    "backward": f"gradients are computed by a step: {_STEP}",
    "cuda": _NO_DEVICE,
    "grad": "gradients by name are step.gradients(batch)",
    "grad_fn": "gl.grad(f) is the derivative of a function",
    "detach": "write gl.stop_gradient(parameter) inside a step",
}


def of_random(name: str) -> str | None:
    """What to write instead of a name of JAX's or NumPy's random numbers; `None` for all else."""
    return _OF_RANDOM.get(name)


def of_a_step(name: str, known: Sequence[str]) -> str:
    """What to write instead of an attribute that a step, which has the `known` ones, does not have."""
    return _OF_A_STEP.get(name) or similar(name, known, "step.") or "dir(step) lists what it has"


def of_a_module(name: str) -> str | None:
    """What to write instead of an attribute of torch's modules that ours do not have; `None` for all else."""
    return _OF_A_MODULE.get(name)


def of_a_parameter(name: str) -> str | None:
    """What to write instead of an attribute of torch's parameters that ours do not have; `None` for all else."""
    return _OF_A_PARAMETER.get(name)


def attributes_of(
    module: str,
    names: Sequence[str],
    prefix: str,
    elsewhere: Mapping[str, Sequence[str]] | None = None,
    instead: Callable[[str], str | None] | None = None,
    made: Mapping[str, Callable[[], Any]] | None = None,
) -> Callable[[str], Any]:
    """The `__getattr__` of a module whose names are `names`: an `AttributeError` that says what to write, also for
    names that modules `elsewhere` have, and for those that `instead` knows. What is in `made` is made when asked for.
    """

    def missing(name: str) -> Any:
        if made is not None and name in made:
            return made[name]()
        if name.startswith("_"):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        others = [f"{other}.{name}" for other, theirs in (elsewhere or {}).items() if name in theirs]
        advice = f"write {' or '.join(others)}" if others else instead(name) if instead else None
        message = f"{prefix} has no {name!r}; {advice or _instead(name, names, prefix, elsewhere or {})}"
        if _is_imported(sys._getframe(1)):
            raise ImportError(message, name=module)  # of an AttributeError an import statement does not tell the words
        raise AttributeError(message)

    return missing


def _is_imported(frame: FrameType) -> bool:
    """Whether `from ... import` runs in the frame."""
    return dis.opname[frame.f_code.co_code[frame.f_lasti]] == "IMPORT_FROM"


def _instead(name: str, names: Sequence[str], prefix: str, elsewhere: Mapping[str, Sequence[str]]) -> str:
    if name in _INSTEAD:
        return f"write {_INSTEAD[name]}"
    if name.endswith("_") and name[:-1] in names:
        return f"nothing is written in place: write x = {prefix}.{name[:-1]}(x)"
    near = similar(name, names, f"{prefix}.")
    if near:
        return near
    others = [f"{other}.{found}" for other, theirs in elsewhere.items() for found in near_names(name, theirs, 1)]
    if others:
        return f"similar: {', '.join(others[:3])}"
    if len(names) <= _FEW:
        return f"there are {', '.join(names)}"
    return "write it with functions of gl.numpy, as a function, or as a Module whose forward says what it computes"


_FEW = 30
"""As many names as a message lists."""
