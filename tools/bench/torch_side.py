"""PyTorch's side of the benchmark: eager, or with the loss under `torch.compile`; on a GPU also the whole step as one
CUDA graph. AdamW is the fused one in all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from itertools import pairwise
from typing import Any

import optree
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from ...engine.nn.binding import init_parameters
from ..command_error import CommandError
from ..recipes import bench_gpt
from ..recipes.bench_mlps import WIDTHS
from .side import Place, Side
from .workloads import Task

F = nn.functional


def _mlp(*widths: int) -> Any:
    layers: list[Any] = []
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.qkv, self.proj = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Any) -> Any:
        rows, length, width = x.shape
        parts = self.qkv(self.norm1(x)).split(width, -1)
        q, k, v = (t.view(rows, length, self.heads, -1).transpose(1, 2) for t in parts)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        x = x + self.proj(attended.reshape(rows, length, width))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))


class _Transformer(nn.Module):
    def __init__(self, vocabulary: int, context: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*[_Block(width, heads) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Any) -> Any:
        logits = self.head(self.norm(self.blocks(self.tokens(tokens) + self.positions.weight)))
        return logits.flatten(0, 1)


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        changes = channels != out_channels or stride != 1
        self.shortcut = nn.Conv2d(channels, out_channels, 1, stride, bias=False) if changes else nn.Identity()

    def forward(self, x: Any) -> Any:
        return F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))) + self.shortcut(x))


def _cnn() -> Any:
    first = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [_ResidualBlock(16, 16), _ResidualBlock(16, 32, 2), _ResidualBlock(32, 64, 2)]
    return nn.Sequential(*first, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class _Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(64, 256), nn.Linear(256, 10)

    def forward(self, x: Any) -> Any:
        return self.head(self.rnn(x)[0][-1])


MODELS: Mapping[str, Callable[[], Any]] = {
    **{name: lambda widths=widths: _mlp(*widths) for name, widths in WIDTHS.items()},
    "gpt": lambda: _Transformer(
        bench_gpt.VOCABULARY, bench_gpt.CONTEXT, bench_gpt.WIDTH, bench_gpt.HEADS, bench_gpt.LAYERS
    ),
    "cnn": _cnn,
    "lstm": _Lstm,
}
"""The model of each workload; its parameters come in the order of Gradloom's."""


def _ingredients(task: Task) -> tuple[Any, Any, Any]:
    """Model, loss function and optimizer."""
    if task.name in MODELS:
        model = MODELS[task.name]()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        return model, lambda model, batch: F.cross_entropy(model(batch["x"]), batch["y"].flatten()), optimizer
    peer = task.peer("torch")
    if peer is None:
        raise CommandError(f"beside {task.name} there is no function of its name and _torch")
    return peer()


def build(task: Task, place: Place, mode: str | None = None, captured: bool = False) -> Side:
    """The step, from Gradloom's initial parameters; the loss under `torch.compile` with a `mode`; the whole step in one
    CUDA graph where it is to be `captured`.
    """
    if place.on_gpu:
        _use_gpu(place)
    model, loss_fn, optimizer = _ingredients(task)
    values = list(init_parameters(task.ingredients.model, 0).values())
    places = list(model.parameters())
    if [tuple(p.shape) for p in places] != [v.shape for v in values]:
        raise CommandError(f"{task.name}: the parameters in PyTorch have other shapes, or another order")
    with torch.no_grad():
        for each, value in zip(places, values):
            each.copy_(torch.from_numpy(value))
    batch = optree.tree_map(torch.from_numpy, task.batch)
    if place.on_gpu:
        model.to("cuda")
        batch = optree.tree_map(lambda array: array.to("cuda"), batch)

    half = place.on_gpu and place.precision == "bf16"
    rounded = partial(torch.autocast, "cuda", torch.bfloat16) if half else nullcontext

    def loss_of_batch() -> Any:
        with rounded():
            return loss_fn(model, batch)

    if task.is_inference:
        return _inference(model.eval(), loss_of_batch, mode, captured)
    run_loss = torch.compile(loss_of_batch, mode=mode) if mode is not None else loss_of_batch

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = run_loss()
        loss.backward()
        optimizer.step()
        return loss.detach()

    def bytes_beyond() -> int:
        optimizer.zero_grad(set_to_none=True)
        return (_peak_gpu_bytes if place.on_gpu else peak_bytes)(step)

    return _in_one_graph(step, model, optimizer) if captured else Side(step, bytes_beyond)


def _inference(model: Any, outputs: Callable[[], Any], mode: str | None, captured: bool) -> Side:
    if captured:
        raise CommandError("inference is not measured as one CUDA graph; leave that peer out")
    run = torch.compile(outputs, mode=mode) if mode is not None else outputs

    def step() -> Any:
        with torch.inference_mode():
            return run()

    return Side(step, lambda: (_peak_gpu_bytes if next(model.parameters()).is_cuda else peak_bytes)(step))


def build_compiled(task: Task, place: Place) -> Side:
    """As `build`, with `torch.compile`, which on a GPU replays graphs of its own: forward, backward."""
    return build(task, place, "reduce-overhead" if place.on_gpu else "default")


def build_autotuned(task: Task, place: Place) -> Side:
    """As `build`, with `torch.compile` that measures which kernels are fastest."""
    return build(task, place, "max-autotune")


def build_graph(task: Task, place: Place) -> Side:
    """As `build`, forward, backward and update as one CUDA graph."""
    return build(task, place, captured=True)


def build_compiled_graph(task: Task, place: Place) -> Side:
    """As `build`, the loss under `torch.compile`, and forward, backward and update as one CUDA graph."""
    return build(task, place, "default", captured=True)


# ---- on a GPU


_WARM_UP = 3
"""Steps before a step is captured, which compile it and make the optimizer's state."""


def _use_gpu(place: Place) -> None:
    if not torch.cuda.is_available():
        raise CommandError(f"torch {torch.__version__} sees no GPU here; see https://pytorch.org for one that does")
    tf32 = place.precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True  # shapes do not change


def _in_one_graph(step: Callable[[], Any], model: Any, optimizer: Any) -> Side:
    """The step as one CUDA graph. Parameters and state are as they were before it was captured."""
    for group in optimizer.param_groups:
        group["capturable"] = True
    stored = [*model.parameters(), *model.buffers()]
    before = [tensor.detach().clone() for tensor in stored]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            step()
    torch.cuda.synchronize()
    optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    with torch.cuda.graph(graph):
        loss = step()
    beyond = torch.cuda.max_memory_allocated() - held
    with torch.no_grad():
        for tensor, value in zip(stored, before):
            tensor.copy_(value)
        for kept in (value for state in optimizer.state.values() for value in state.values()):
            if isinstance(kept, torch.Tensor):
                kept.zero_()

    def replay() -> Any:
        graph.replay()
        return loss

    return Side(replay, lambda: beyond)


def _peak_gpu_bytes(step: Callable[[], Any]) -> int:
    """The most bytes of the GPU that a call allocates at once, gradients included, by PyTorch's allocator."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - held


def peak_bytes(step: Callable[[], Any]) -> int:
    """The most bytes that a call holds at once of what it allocates, gradients included, by PyTorch's profiler."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        step()
    profiler: Any = profile.profiler
    events = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most
