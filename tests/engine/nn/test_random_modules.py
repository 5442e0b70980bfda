"""A campaign: attention, transformers, embeddings, folding, norms of weights, with random options, against torch."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from modules_against_torch import assert_module_like_torch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.peers,
    pytest.mark.usefixtures("one_thread_for_torch"),
    pytest.mark.filterwarnings("ignore"),  # torch has much to say of masks of two kinds, and of older names
]


class Chance:
    """Random sizes, arrays and choices."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def flag(self) -> bool:
        return bool(self.rng.integers(2))

    def size(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def pick(self, *choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def array(self, *shape: int) -> Any:
        return self.rng.standard_normal(shape)

    def mask(self, *shape: int) -> Any:
        """Booleans, true where a key may not be seen, of which each query sees the first; or floats that are added."""
        hidden = self.rng.random(shape) < 0.3
        hidden[..., 0] = False
        return hidden if self.flag() else self.array(*shape)


def attention(c: Chance, torch: Any) -> None:
    heads, queries, keys, count = c.size(1, 3), c.size(1, 4), c.size(1, 4), c.size(1, 3)
    width = heads * c.size(1, 3)
    options: dict[str, Any] = {name: c.flag() for name in ("bias", "add_bias_kv", "add_zero_attn", "batch_first")} | {
        "kdim": c.pick(None, 3, width),
        "vdim": c.pick(None, 2, width),
    }
    batched = c.pick(True, True, False)

    def sequence(length: int, size: int) -> Any:
        lead = (count, length) if options["batch_first"] else (length, count)
        return c.array(*(lead if batched else (length,)), size)

    call: dict[str, Any] = {"need_weights": c.flag(), "average_attn_weights": c.flag()}
    if c.flag():
        call["key_padding_mask"] = c.mask(*((count,) if batched else ()), keys)
    if c.flag():
        call["attn_mask"] = c.mask(*c.pick((), ((count if batched else 1) * heads,)), queries, keys)
    inputs = [
        sequence(queries, width),
        sequence(keys, options["kdim"] or width),
        sequence(keys, options["vdim"] or width),
    ]
    ours, theirs = (n.MultiheadAttention(width, heads, **options) for n in (nn, torch.nn))
    pick = int(call["need_weights"] and c.flag())
    assert_module_like_torch(ours, theirs, *inputs, options=call, pick=pick)


def transformer(c: Chance, torch: Any) -> None:
    source, target, count = c.size(1, 4), c.size(1, 4), c.size(1, 3)
    first, activation = c.flag(), c.pick("relu", "gelu")
    options = {"batch_first": first, "norm_first": c.flag(), "bias": c.flag(), "layer_norm_eps": c.pick(1e-5, 1e-2)}
    masks = {"src_mask": c.mask(source, source), "tgt_mask": c.mask(target, target)}
    masks["memory_mask"] = c.array(target, source)
    ours, theirs = (n.Transformer(4, 2, 1, 2, 5, 0.0, activation, **options) for n in (nn, torch.nn))
    inputs = [c.array(*((count, n) if first else (n, count)), 4) for n in (source, target)]
    assert_module_like_torch(ours, theirs, *inputs, options=masks)


def grouped_queries(c: Chance, torch: Any) -> None:
    groups, heads, queries, keys = c.size(1, 3), c.size(1, 3), c.size(1, 5), c.size(1, 5)
    lead = tuple(c.size(1, 2) for _ in range(c.size(0, 2)))
    shapes = [(*lead, groups * heads, queries, 3), (*lead, heads, keys, 3), (*lead, heads, keys, 2)]
    shape = c.pick((queries, keys), (groups * heads, queries, keys), (*lead, groups * heads, queries, keys), (1, keys))
    mask = c.pick(None, c.mask(*shape))
    if mask is not None and mask.dtype == bool:
        mask = ~mask  # here true is what is seen
    options = {"is_causal": mask is None and c.flag(), "enable_gqa": True}
    arrays = [c.array(*s) for s in shapes]
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    attend = torch.nn.functional.scaled_dot_product_attention
    expected = attend(*tensors, None if mask is None else torch.tensor(mask), **options)
    (expected**2).sum().backward()

    def loss(*given: Any) -> Any:
        value = nn.functional.scaled_dot_product_attention(*given, mask, **options)
        return (value**2).sum(), value

    (_, value), gradients = gl.value_and_grad(loss, (0, 1, 2), has_aux=True)(*arrays)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-9, atol=1e-10)
    for gradient, tensor in zip(gradients, tensors):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-8, atol=1e-9)


def bags(c: Chance, torch: Any) -> None:
    rows, count, number, mode = c.size(1, 8), c.size(1, 8), c.size(1, 4), c.pick("sum", "mean", "max")
    padding = c.pick(None, int(c.rng.integers(-rows, rows)))
    options = {"mode": mode, "padding_idx": padding, "include_last_offset": c.flag()}
    index = c.rng.integers(0, rows, count).astype(c.pick("int32", "int64"))
    offsets = np.sort(c.rng.integers(0, count + 1, number)).astype(index.dtype)
    offsets[0] = 0
    if options["include_last_offset"]:
        offsets = np.append(offsets, index.dtype.type(count))
    weights = [c.array(count)] if mode == "sum" and c.flag() else []
    ours, theirs = (n.EmbeddingBag(rows, 3, **options) for n in (nn, torch.nn))
    assert_module_like_torch(ours, theirs, index, offsets, *weights)


def blocks(c: Chance, torch: Any) -> None:
    size, dilation, padding = ((c.size(1, n), c.size(1, n)) for n in (3, 2, 2))
    geometry = (size, dilation, padding, c.pick(size, (c.size(1, 3), c.size(1, 3))))
    lengths, count = (c.size(5, 9), c.size(5, 9)), c.size(1, 2)
    ours, theirs = (n.Unfold(*geometry) for n in (nn, torch.nn))
    images = c.array(count, 2, *lengths)
    assert_module_like_torch(ours, theirs, images)
    columns = c.array(*theirs(torch.tensor(images)).shape)
    assert_module_like_torch(nn.Fold(lengths, *geometry), torch.nn.Fold(lengths, *geometry), columns)


def norms(c: Chance, torch: Any) -> None:
    layer, norm, old, dim = c.size(0, 2), c.pick("spectral_norm", "weight_norm"), c.flag(), c.pick(None, 0, 1)
    made: list[Any] = []
    for n in (nn, torch.nn):
        module = (n.Linear(3, 4), n.Conv1d(2, 4, 2, groups=2), n.ConvTranspose2d(2, 3, 2))[layer]
        made.append(getattr(n.utils if old else n.utils.parametrizations, norm)(module, dim=dim))
    shape = ((5, 3), (2, 2, 5), (2, 2, 4, 4))[layer]
    assert_module_like_torch(*made, c.array(*shape), training=c.flag())


@pytest.mark.parametrize("case", [attention, transformer, grouped_queries, bags, blocks, norms])
def test_random_modules_are_torchs(case: Any) -> None:
    torch = pytest.importorskip("torch")
    for seed in range(100):
        torch.manual_seed(seed)
        case(Chance(seed), torch)
