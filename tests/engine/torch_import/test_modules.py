"""Modules as people write them: loss, gradients, buffers and evaluation are torch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import pytest

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # noqa: E402  # pyright: ignore[reportMissingImports]

Made = tuple[Any, tuple[Any, ...]]


class Function(nn.Module):
    """A function of the module and any arguments, with layers by name."""

    def __init__(self, function: Callable[..., Any], **layers: Any) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self, *args, **kwargs)


def drawn(*shape: int) -> Any:
    return torch.randn(*shape, dtype=torch.float64)


def cumulative_statistics() -> Made:
    layers = [
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8, momentum=None),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
    ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 4, bias=False), nn.BatchNorm1d(4)), (drawn(4, 3, 6, 6),)


def running_statistics_of_images() -> Made:
    return nn.Sequential(nn.Conv2d(2, 3, 2), nn.InstanceNorm2d(3, True, True)), (drawn(2, 2, 4, 4),)


class Attention(nn.Module):
    causal: Any

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.register_buffer("causal", torch.tril(torch.ones(8, 8)).view(1, 1, 8, 8), persistent=False)

    def forward(self, x: Any, padding: Any = None) -> Any:
        rows, length, width = x.shape
        parts = self.qkv(x).reshape(rows, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q * self.scale) @ k.transpose(-2, -1)
        scores = scores.masked_fill(self.causal[:, :, :length, :length] == 0, torch.finfo(scores.dtype).min)
        if padding is not None:
            scores = scores + (1.0 - padding[:, None, None, :].to(scores.dtype)) * -1e4
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(rows, length, width))


def attention_with_masks() -> Made:
    return Attention(8, 2), (drawn(3, 5, 8), torch.arange(5) < torch.tensor([[5], [3], [4]]))


def windows() -> Made:
    def forward(self: Any, x: Any) -> Any:
        rows, height, width, channels = x.shape
        y = torch.roll(x, (-1, -1), (1, 2)).view(rows, height // 2, 2, width // 2, 2, channels)
        y = y.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, 4, channels)
        bias = self.table.weight[torch.arange(16) % 9].view(4, 4)
        y = (self.query(y) @ y.transpose(1, 2) + bias).softmax(-1) @ y
        y = y.view(rows, height // 2, width // 2, 2, 2, channels).permute(0, 1, 3, 2, 4, 5)
        return x + torch.roll(y.reshape(rows, height, width, channels), (1, 1), (1, 2))

    return Function(forward, query=nn.Linear(6, 6), table=nn.Embedding(9, 1)), (drawn(2, 4, 4, 6),)


def changed_in_place() -> Made:
    def forward(self: Any, x: Any, mask: Any) -> Any:
        y = self.layer(x) * 2
        y[:, 0] = x[:, 1]
        y[..., -1] += 3
        y[1:, 2:4] = 0
        y[mask] = x[0]
        z = torch.zeros(y.shape[0], 6, dtype=y.dtype)
        z[:, :4] = y.masked_fill_(y > 1.0, -1.0)
        z[:, 5] = y.sum(1)
        return z.clamp_(min=-1).add_(0.5)

    return Function(forward, layer=nn.Linear(4, 4)), (drawn(3, 4), torch.tensor([True, False, True]))


class Seen(nn.Module):
    mean: Any
    cache: Any
    count: Any

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("cache", torch.zeros(3, 6, 4))
        self.register_buffer("count", torch.tensor(0))

    def forward(self, x: Any) -> Any:
        y = self.layer(self.layer(x).tanh())
        if self.training:
            with torch.no_grad():
                self.mean.mul_(0.9).add_(y.mean(0), alpha=0.1)
                self.mean[0] = 2.0
                self.cache[:, 1] = y
                self.count += 1
        return y - self.mean + self.cache.sum()


def buffers_that_move() -> Made:
    return Seen(), (drawn(3, 4),)


def parametrizations() -> Made:
    spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 5))
    weight = nn.utils.parametrizations.weight_norm(nn.Linear(5, 4))
    orthogonal = nn.utils.parametrizations.orthogonal(nn.Linear(4, 4), orthogonal_map="cayley")
    parts: Any = (spectral, weight, orthogonal, nn.Tanh())
    return nn.Sequential(*parts), (drawn(3, 4),)


def structures() -> Made:
    def forward(self: Any, inputs: Any, pair: Any, flag: Any = True, missing: Any = None) -> Any:
        y = self.layer(inputs["x"]) + pair[0] * pair[1][0]
        return {"y": y if flag is None else -y, "more": [(y.argmax(-1), missing), inputs["x"].shape[-1]]}

    inputs = {"x": drawn(3, 4), "unused": drawn(2)}
    return Function(forward, layer=nn.Linear(4, 5)), (inputs, (drawn(3, 5), [drawn(5)]), None)


def transformer() -> Made:
    def forward(self: Any, x: Any, y: Any) -> Any:
        return self.whole(x, y, tgt_mask=nn.Transformer.generate_square_subsequent_mask(y.size(0)))

    whole = nn.Transformer(8, 2, 1, 1, 16, 0.0, activation="gelu", norm_first=False)
    return Function(forward, whole=whole), (drawn(5, 2, 8), drawn(4, 2, 8))


def recurrent() -> Made:
    def forward(self: Any, x: Any) -> Any:
        state, outputs = (x.new_zeros(x.shape[0], 5), torch.zeros(x.shape[0], 5, dtype=x.dtype)), []
        for t in range(x.size(1)):
            state = self.cell(x[:, t], state)
            outputs.append(state[0])
        return self.layer(torch.stack(outputs, 1))[1]

    return Function(forward, cell=nn.LSTMCell(4, 5), layer=nn.GRU(5, 3, bidirectional=True)), (drawn(3, 4, 4),)


def graph_convolution() -> Made:
    def forward(self: Any, x: Any, edges: Any) -> Any:
        source, target = edges
        degree = torch.zeros(x.size(0), dtype=x.dtype).scatter_add_(0, target, torch.ones(9, dtype=x.dtype))
        factor = degree.clamp(min=1).pow(-0.5)
        messages = self.layer(x)[source] * (factor[source] * factor[target]).unsqueeze(-1)
        return torch.zeros(x.size(0), 5, dtype=x.dtype).index_add(0, target, messages).relu()

    return Function(forward, layer=nn.Linear(4, 5)), (drawn(6, 4), torch.randint(0, 6, (2, 9)))


def adaptive_softmax() -> Made:
    head = nn.AdaptiveLogSoftmaxWithLoss(8, 10, [3, 6])
    return Function(lambda self, x, y: self.head(x, y), head=head), (drawn(5, 8), 2 * torch.arange(5))


def up_and_down() -> Made:
    def forward(self: Any, x: Any) -> Any:
        a = F.relu(self.a(x))
        b = F.silu(self.b(F.max_pool2d(a, 2)))
        up = F.pad(self.up(b), [0, x.size(3) - 2 * b.size(3), 0, x.size(2) - 2 * b.size(2)])
        return self.norm(torch.cat([a, up], 1)) + F.interpolate(b, size=x.shape[-2:], mode="bilinear")

    layers = {"a": nn.Conv2d(1, 4, 3, padding=1), "b": nn.Conv2d(4, 8, 3, padding="same", groups=2)}
    return Function(forward, **layers, up=nn.ConvTranspose2d(8, 4, 2, 2), norm=nn.GroupNorm(2, 8)), (drawn(2, 1, 5, 7),)


def checkpoints() -> Made:
    def forward(self: Any, x: Any) -> Any:
        inner = torch.utils.checkpoint.checkpoint(self.part, x, use_reentrant=False)
        return torch.utils.checkpoint.checkpoint(self.part, inner, use_reentrant=False)

    return Function(forward, part=nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.LayerNorm(4))), (drawn(3, 4),)


MODULES = [
    cumulative_statistics,
    running_statistics_of_images,
    attention_with_masks,
    windows,
    changed_in_place,
    buffers_that_move,
    parametrizations,
    structures,
    transformer,
    recurrent,
    graph_convolution,
    adaptive_softmax,
    up_and_down,
    checkpoints,
]


def tensors(value: Any) -> list[Any]:
    return [x for x in torch.utils._pytree.tree_leaves(value) if isinstance(x, torch.Tensor)]


def arrays(value: Any) -> list[Any]:
    if hasattr(value, "dtype"):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else []
    return [x for part in parts for x in arrays(part)]


def total_of_tensors(value: Any) -> Any:
    floats = [x for x in tensors(value) if x.is_floating_point()]
    return sum((x * torch.cos(torch.arange(x.numel(), dtype=x.dtype)).reshape(x.shape) + x * x).sum() for x in floats)


def total_of_arrays(value: Any) -> Any:
    floats = [x for x in arrays(value) if x.dtype.kind == "f"]
    return sum((x * np.cos(np.arange(x.size, dtype=x.dtype)).reshape(x.shape) + x * x).sum() for x in floats)


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of how a module is made
@pytest.mark.parametrize("made", MODULES)
def test_a_module_trains_and_evaluates_as_in_torch(made: Callable[[], Made]) -> None:
    torch.manual_seed(0)
    module, args = made()
    module = module.double()
    given = torch.utils._pytree.tree_map(lambda x: x.numpy() if isinstance(x, torch.Tensor) else x, args)
    model = gl.from_torch(module, *args)
    step = gl.compile_step(model, lambda m, args: total_of_arrays(m(*args)), gl.optim.AdamW(1e-2), given, threads=1)
    gradients = step.gradients(given)
    optimizer = torch.optim.AdamW(module.train().parameters(), 1e-2)
    for i in range(2):
        optimizer.zero_grad()
        loss = total_of_tensors(module(*args))
        loss.backward()
        for name, gradient in gradients.items() if not i else ():
            expected = module.get_parameter(name).grad
            expected = np.zeros(gradient.shape) if expected is None else expected.numpy()
            np.testing.assert_allclose(
                gradient, expected, rtol=1e-7, atol=1e-9 * (1 + abs(expected).max(initial=0)), err_msg=name
            )
        optimizer.step()
        assert step(given) == pytest.approx(loss.item(), rel=1e-9, abs=1e-9)
    for name, value in step.state_dict().items():
        torch.testing.assert_close(value, module.state_dict()[name], rtol=1e-6, atol=1e-8)
    expected = tensors(module.eval()(*args))
    found = step.bind(lambda m, args: arrays(m(*args)))(given)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-6, atol=1e-8)


def test_cumulative_statistics_count_each_part_of_a_batch_as_torch_does() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, momentum=None)).double()
    x = drawn(6, 4)
    model = gl.from_torch(module, x)
    with pytest.warns(UserWarning, match="takes its statistics from each of 2 parts"):
        step = gl.compile_step(model, lambda m, x: (m(x) ** 3).mean(), gl.optim.SGD(0.1), x, accumulate=2)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        losses: Any = [(module(part) ** 3).mean() / 2 for part in x.chunk(2)]
        total: Any = sum(losses)
        total.backward()
        optimizer.step()
        assert step(x) == pytest.approx(total.item())
    for name, value in step.state_dict().items():
        torch.testing.assert_close(value, module.state_dict()[name])


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        y = torch.cond(x.sum() > 0, lambda y: self.layer(y).sin(), lambda y: y * 2, (x,))
        with torch.no_grad():
            count = torch.tensor(0)
            _, z = torch._higher_order_ops.while_loop(lambda i, z: i < 5, lambda i, z: (i + 1, z * 0.9), (count, x))
        return y + self.layer(z)


@pytest.mark.filterwarnings("ignore")
def test_branches_and_loops_of_torch_are_ours() -> None:
    torch.manual_seed(0)
    module = Branching()
    step = gl.compile_step(
        gl.from_torch(module, torch.ones(3, 4)), lambda m, x: m(x).sum(), gl.optim.SGD(0.0), torch.ones(3, 4)
    )
    for x in (torch.ones(3, 4), -torch.ones(3, 4)):
        first = module.layer(x).sin() if x.sum() > 0 else x * 2
        loss = (first + module.layer(x * 0.9**5)).sum()
        module.zero_grad()
        loss.backward()
        gradient: Any = module.layer.weight.grad
        assert step(x) == pytest.approx(loss.item(), rel=1e-5)
        np.testing.assert_allclose(step.gradients(x)["layer.weight"], gradient.numpy(), rtol=1e-5)
