"""The models of the zoo in PyTorch, and the bytes that one of its training steps keeps: nothing is allocated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import bert_base
import gpt2_small
import lstm
import mobilenet_v1
import resnet50
import torch
import unet
import vgg16
from torch import nn
from torch.nn import functional as F


def _vgg16() -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width, repeats in vgg16.STAGES:
        for _ in range(repeats):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    hidden = [nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout()]
    return nn.Sequential(*layers, nn.Flatten(), *hidden, nn.Linear(4096, 1000))


def _normalized(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels)]


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = resnet50.EXPANSION * width
        self.body = nn.Sequential(
            *_normalized(nn.Conv2d(channels, width, 1, bias=False)),
            nn.ReLU(inplace=True),
            *_normalized(nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)),
            nn.ReLU(inplace=True),
            *_normalized(nn.Conv2d(width, out, 1, bias=False)),
        )
        self.past = nn.Sequential()
        if stride != 1 or channels != out:
            self.past = nn.Sequential(*_normalized(nn.Conv2d(channels, out, 1, stride=stride, bias=False)))

    def forward(self, x: Any) -> Any:
        return F.relu(self.body(x) + self.past(x), inplace=True)


def _resnet50() -> nn.Module:
    first = _normalized(nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False))
    layers = [*first, nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2, padding=1)]
    channels = 64
    for width, blocks, stride in resnet50.STAGES:
        for i in range(blocks):
            layers.append(_Bottleneck(channels, width, stride if i == 0 else 1))
            channels = resnet50.EXPANSION * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))


def _mobilenet_v1() -> nn.Module:
    channels = 32
    layers = [*_normalized(nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=False)), nn.ReLU(inplace=True)]
    for width, stride in mobilenet_v1.BLOCKS:
        depthwise = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False)
        layers += [*_normalized(depthwise), nn.ReLU(inplace=True)]
        layers += [*_normalized(nn.Conv2d(channels, width, 1, bias=False)), nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))


def _pair(channels: int, width: int) -> nn.Module:
    convolutions = nn.Conv2d(channels, width, 3), nn.Conv2d(width, width, 3)
    return nn.Sequential(convolutions[0], nn.ReLU(inplace=True), convolutions[1], nn.ReLU(inplace=True))


class _UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = unet.WIDTHS
        steps = list(zip(widths[::-1], widths[-2::-1]))
        self.down = nn.ModuleList([_pair(a, b) for a, b in zip((1, *widths), widths)])
        self.up = nn.ModuleList([nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in steps])
        self.merge = nn.ModuleList([_pair(a, b) for a, b in steps])
        self.out = nn.Conv2d(widths[0], 2, 1)

    def forward(self, x: Any) -> Any:
        kept: list[Any] = []
        for i, down in enumerate(self.down):
            x = down(x if i == 0 else F.max_pool2d(x, 2))
            kept.append(x)
        for up, merge, skipped in zip(self.up, self.merge, kept[-2::-1]):
            x = up(x)
            edge = (skipped.shape[2] - x.shape[2]) // 2
            middle = slice(edge, edge + x.shape[2])
            x = merge(torch.cat([skipped[:, :, middle, middle], x], 1))
        return self.out(x)


def _encoder(width: int, heads: int, layers: int, dropout: float, activation: Any, norm_first: bool) -> nn.ModuleList:
    sizes = (width, heads, 4 * width, dropout, activation)
    return nn.ModuleList(
        [nn.TransformerEncoderLayer(*sizes, batch_first=True, norm_first=norm_first) for _ in range(layers)]
    )


class _Bert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width = bert_base.WIDTH
        self.words = nn.Embedding(bert_base.VOCABULARY, width, padding_idx=0)
        self.positions = nn.Embedding(bert_base.CONTEXT, width)
        self.sentences = nn.Embedding(2, width)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(0.1)
        self.encoder = _encoder(width, 12, 12, 0.1, "gelu", norm_first=False)
        self.pooler = nn.Linear(width, width)
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.decoder = nn.Linear(width, bert_base.VOCABULARY)
        self.decoder.weight = self.words.weight
        self.follows = nn.Linear(width, 2)

    def forward(self, tokens: Any, sentences: Any, places: Any) -> tuple[Any, Any]:
        x = self.words(tokens) + self.positions.weight[: tokens.shape[1]] + self.sentences(sentences)
        x = self.dropout(self.norm(x))
        for layer in self.encoder:
            x = layer(x)
        rows = torch.arange(tokens.shape[0], device=tokens.device) * tokens.shape[1]
        masked = x.reshape(-1, x.shape[-1])[(places + rows[:, None]).reshape(-1)]
        return self.decoder(self.transform(masked)), self.follows(torch.tanh(self.pooler(x[:, 0])))


class _GPT2(nn.Module):
    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.wte = nn.Embedding(gpt2_small.VOCABULARY, width)
        self.wpe = nn.Embedding(gpt2_small.CONTEXT, width)
        self.drop = nn.Dropout(0.1)
        self.h = _encoder(width, heads, layers, 0.1, lambda x: F.gelu(x, approximate="tanh"), norm_first=True)
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, gpt2_small.VOCABULARY, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, tokens: Any) -> Any:
        length = tokens.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=tokens.device)
        x = self.drop(self.wte(tokens) + self.wpe.weight[:length])
        for block in self.h:
            x = block(x, src_mask=mask, is_causal=True)
        return self.lm_head(self.ln_f(x))


class _WordModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(lstm.VOCABULARY, lstm.WIDTH)
        self.lstm = nn.LSTM(lstm.WIDTH, lstm.WIDTH, num_layers=2, dropout=0.5, batch_first=True)
        self.dropout = nn.Dropout(0.5)
        self.out = nn.Linear(lstm.WIDTH, lstm.VOCABULARY)

    def forward(self, words: Any) -> Any:
        outputs, _ = self.lstm(self.dropout(self.embedding(words)))
        return self.out(self.dropout(outputs))


def _of_labels(model: nn.Module, batch: Any) -> Any:
    logits, labels = model(batch["images"]), batch["labels"]
    return F.cross_entropy(logits, labels)


def _of_next(model: nn.Module, batch: Any) -> Any:
    tokens = batch["tokens"] if "tokens" in batch else batch["words"]
    return F.cross_entropy(model(tokens).flatten(0, 1), batch["next"].flatten())


def _of_bert(model: nn.Module, batch: Any) -> Any:
    words, follows = model(batch["tokens"], batch["sentences"], batch["places"])
    return F.cross_entropy(words, batch["words"].flatten()) + F.cross_entropy(follows, batch["follows"])


MODELS: Mapping[str, tuple[Callable[[], nn.Module], Callable[[nn.Module, Any], Any]]] = {
    "vgg16": (_vgg16, _of_labels),
    "resnet50": (_resnet50, _of_labels),
    "mobilenet_v1": (_mobilenet_v1, _of_labels),
    "unet": (_UNet, _of_labels),
    "bert_base": (_Bert, _of_bert),
    "gpt2_small": (lambda: _GPT2(768, 12, 12), _of_next),
    "gpt2_xl": (lambda: _GPT2(1600, 25, 48), _of_next),
    "lstm": (_WordModel, _of_next),
}
"""The model of each recipe, and its loss."""


def built(name: str, dropout: float | None = None) -> tuple[nn.Module, Callable[[nn.Module, Any], Any]]:
    """A model with numbers, and its loss; all its dropout at another rate, if one is given."""
    make, loss_fn = MODELS[name]
    model = make()
    for module in model.modules():
        if dropout is not None and isinstance(module, nn.Dropout):
            module.p = dropout
        if dropout is not None and isinstance(module, nn.MultiheadAttention):
            module.dropout = dropout
    return model, loss_fn


def model_of(name: str) -> nn.Module:
    """The model without numbers, on PyTorch's meta device."""
    with torch.device("meta"):
        return MODELS[name][0]()


def saved_bytes(name: str, batch: Mapping[str, Any]) -> int:
    """The bytes that the forward of a training step leaves for its backward, for a batch of specs.

    Each storage that autograd saves is counted once, as `torch.autograd.graph.saved_tensors_hooks` shows it, but for
    those of parameters, buffers and the batch. What is alive for a moment only, workspaces, gradients and what the
    allocator adds are not in it, so a step needs more. Attention and LSTMs run on PyTorch's plain kernels here.
    """
    model, loss_fn = model_of(name).train(), MODELS[name][1]
    data = {
        key: torch.empty(spec.shape, dtype=getattr(torch, spec.dtype.name), device="meta")
        for key, spec in batch.items()
    }
    # Storages are held as long as they are counted, so that no two have one address.
    saved: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = loss_fn(model, data)
    given = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers(), *data.values())}
    assert loss.requires_grad
    return sum(storage.nbytes() for key, storage in saved.items() if key not in given)
