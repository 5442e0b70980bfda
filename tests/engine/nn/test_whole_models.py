"""Whole models, written once for torch and for this package: they train alike, and generate what they compute."""

import math
from types import SimpleNamespace

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from trained_against_torch import assert_trains_like_torch

pytestmark = [pytest.mark.peers, pytest.mark.usefixtures("one_thread_for_torch")]

RNG = np.random.default_rng(0)


def heads_of(x, count):
    n, t, width = x.shape
    return x.reshape(n, t, count, width // count).swapaxes(1, 2)


def joined(x):
    n, h, t, size = x.shape
    return x.swapaxes(1, 2).reshape(n, t, h * size)


def nano_gpt(n, init, cache=None):
    """nanoGPT: tied weights, initial values by `apply` and by name; with a cache, the one position more is computed."""
    c = SimpleNamespace(words=13, block=10, layers=2, heads=2, width=8)
    F = n.functional

    class Attention(n.Module):
        def __init__(self):
            super().__init__()
            self.c_attn = n.Linear(c.width, 3 * c.width)
            self.c_proj = n.Linear(c.width, c.width)
            if cache:
                self.cache = cache(2, c.heads, c.block, c.width // c.heads, "float64")

        def forward(self, x, cached):
            x = self.c_attn(x)
            q, k, v = (heads_of(x[..., i * c.width : (i + 1) * c.width], c.heads) for i in range(3))
            mask = None
            if cached:
                k, v, mask = self.cache(k, v)
            return self.c_proj(joined(F.scaled_dot_product_attention(q, k, v, mask, is_causal=not cached)))

    class Block(n.Module):
        def __init__(self):
            super().__init__()
            self.ln_1, self.attn = n.LayerNorm(c.width), Attention()
            self.ln_2 = n.LayerNorm(c.width, bias=False)
            self.mlp = n.ModuleDict({"c_fc": n.Linear(c.width, 4 * c.width), "c_proj": n.Linear(4 * c.width, c.width)})

        def forward(self, x, cached):
            x = x + self.attn(self.ln_1(x), cached)
            return x + self.mlp.c_proj(F.gelu(self.mlp.c_fc(self.ln_2(x))))

    class GPT(n.Module):
        def __init__(self):
            super().__init__()
            self.transformer = n.ModuleDict(
                {
                    "wte": n.Embedding(c.words, c.width),
                    "wpe": n.Embedding(c.block, c.width),
                    "h": n.ModuleList([Block() for _ in range(c.layers)]),
                    "ln_f": n.LayerNorm(c.width),
                }
            )
            self.lm_head = n.Linear(c.width, c.words, bias=False)
            self.transformer.wte.weight = self.lm_head.weight
            self.apply(self._init_weights)
            for name, p in self.named_parameters():
                if name.endswith("c_proj.weight"):
                    init.normal_(p, mean=0.0, std=0.2 / math.sqrt(2 * c.layers))

        def _init_weights(self, module):
            if isinstance(module, n.Linear):
                init.normal_(module.weight, mean=0.0, std=0.2)
                if module.bias is not None:
                    init.zeros_(module.bias)
            elif isinstance(module, n.Embedding):
                init.normal_(module.weight, mean=0.0, std=0.2)

        def forward(self, tokens, places, cached=False):
            if cached:
                places = places + self.transformer.h[0].attn.cache.length
            x = self.transformer.wte(tokens) + self.transformer.wpe(places)
            for block in self.transformer.h:
                x = block(x, cached)
            return self.lm_head(self.transformer.ln_f(x))

    return GPT()


def llama(n, rotated, cache=None):
    """LLaMA: RMS norm, rotary embeddings, fewer heads of keys than of queries, and the gated linear unit."""
    c = SimpleNamespace(words=13, layers=2, heads=4, key_heads=2, width=16, hidden=20)
    F = n.functional

    class Attention(n.Module):
        def __init__(self):
            super().__init__()
            size = c.width // c.heads
            self.wq, self.wo = (n.Linear(c.width, c.width, bias=False) for _ in range(2))
            self.wk, self.wv = (n.Linear(c.width, c.key_heads * size, bias=False) for _ in range(2))
            if cache:
                self.cache = cache(2, c.key_heads, 10, size, "float64")

        def forward(self, x, cached):
            q = heads_of(self.wq(x), c.heads)
            k, v = heads_of(self.wk(x), c.key_heads), heads_of(self.wv(x), c.key_heads)
            q, k = (rotated(y, self.cache.length if cached else 0) for y in (q, k))
            if cached:
                y = self.cache.attend(q, k, v)
            else:
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            return self.wo(joined(y))

    class Block(n.Module):
        def __init__(self):
            super().__init__()
            self.attention = Attention()
            self.attention_norm, self.ffn_norm = n.RMSNorm(c.width, eps=1e-5), n.RMSNorm(c.width, eps=1e-5)
            self.w1, self.w3 = (n.Linear(c.width, c.hidden, bias=False) for _ in range(2))
            self.w2 = n.Linear(c.hidden, c.width, bias=False)

        def forward(self, x, cached):
            h = x + self.attention(self.attention_norm(x), cached)
            y = self.ffn_norm(h)
            return h + self.w2(F.silu(self.w1(y)) * self.w3(y))

    class LLaMA(n.Module):
        def __init__(self):
            super().__init__()
            self.tok_embeddings = n.Embedding(c.words, c.width)
            self.layers = n.ModuleList([Block() for _ in range(c.layers)])
            self.norm = n.RMSNorm(c.width, eps=1e-5)
            self.output = n.Linear(c.width, c.words, bias=False)

        def forward(self, tokens, cached=False):
            x = self.tok_embeddings(tokens)
            for layer in self.layers:
                x = layer(x, cached)
            return self.output(self.norm(x))

    return LLaMA()


def vit(n):
    """A vision transformer: patches by a convolution, a class token, the encoder's layers, two heads of classes."""
    F = n.functional

    class ViT(n.Module):
        def __init__(self, array):
            super().__init__()
            self.patches = n.Conv2d(3, 8, 4, stride=4)
            self.token = n.Parameter(array((1, 1, 8)))
            self.places = n.Parameter(array((1, 5, 8)))
            layer = n.TransformerEncoderLayer(8, 2, 16, 0.0, F.gelu, batch_first=True, norm_first=True)
            self.encoder = n.TransformerEncoder(layer, 2, n.LayerNorm(8), enable_nested_tensor=False)
            self.head = n.Sequential(n.Linear(8, 8), n.Tanh(), n.Linear(8, 4))

        def forward(self, x, expand, concat):
            x = self.patches(x)
            x = x.reshape(x.shape[0], 8, 4).swapaxes(1, 2)
            x = concat([expand(self.token, (x.shape[0], 1, 8)), x], 1) + self.places
            return self.head(self.encoder(x)[:, 0])

    return ViT


def assert_train_alike(ours, theirs, loss_fn, batch, torch):
    """Ten updates by AdamW, to 1e-6."""
    options = {"lr": 1e-2, "weight_decay": 0.1}
    adam = gl.optim.AdamW(**options)
    return assert_trains_like_torch(
        ours, theirs, loss_fn, loss_fn, [batch] * 10, adam, lambda p: torch.optim.AdamW(p, **options), tolerance=1e-6
    )


def test_nano_gpt_trains_as_torchs_and_generates_with_a_cache():
    torch = pytest.importorskip("torch")
    ours, theirs = nano_gpt(nn, nn.init, nn.KVCache), nano_gpt(torch.nn, torch.nn.init)
    tokens = RNG.integers(0, 13, (4, 11))
    batch = {"x": tokens[:, :-1], "y": tokens[:, 1:], "places": np.arange(10)}

    def loss_fn(model, batch):
        functional = nn.functional if model is ours else torch.nn.functional
        logits = model(batch["x"], batch["places"])
        return functional.cross_entropy(logits.reshape(-1, 13), batch["y"].reshape(-1))

    step = assert_train_alike(ours, theirs, loss_fn, batch, torch)
    whole, one = step.bind(lambda m, x, p: m(x, p), lambda m, x: m(x, np.arange(1), cached=True).argmax(axis=-1))
    sequence = tokens[:2, :1]
    for _ in range(9):
        sequence = np.concatenate([sequence, one(sequence[:, -1:])], axis=1)
    logits = whole(sequence, np.arange(10))
    np.testing.assert_array_equal(logits[:, :-1].argmax(axis=-1), sequence[:, 1:])
    peer = theirs(torch.tensor(sequence), torch.arange(10)).detach().numpy()
    np.testing.assert_allclose(logits, peer, rtol=1e-6, atol=1e-6)


def test_llama_trains_as_torchs_and_generates_with_a_cache():
    torch = pytest.importorskip("torch")

    def as_meta_writes_it(x, offset):
        angles = torch.outer(torch.arange(x.shape[2]).double(), 500.0 ** (-torch.arange(0, 4, 2).double() / 4))
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], 2, 2))
        return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(3)

    def rotated(x, offset):
        return nn.functional.rotary_embedding(x, base=500.0, interleaved=True, offset=offset)

    ours, theirs = llama(nn, rotated, nn.KVCache), llama(torch.nn, as_meta_writes_it)
    tokens = RNG.integers(0, 13, (4, 11))

    def loss_fn(model, batch):
        functional = nn.functional if model is ours else torch.nn.functional
        return functional.cross_entropy(model(batch["x"]).reshape(-1, 13), batch["y"].reshape(-1))

    step = assert_train_alike(ours, theirs, loss_fn, {"x": tokens[:, :-1], "y": tokens[:, 1:]}, torch)
    whole, some = step.bind(lambda m, x: m(x), lambda m, x: m(x, cached=True))
    parts = [some(tokens[:2, i : i + 2]) for i in range(0, 10, 2)]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole(tokens[:2, :10]), rtol=1e-9, atol=1e-9)
    peer = theirs(torch.tensor(tokens[:2, :10])).detach().numpy()
    np.testing.assert_allclose(whole(tokens[:2, :10]), peer, rtol=1e-6, atol=1e-6)


def test_a_vision_transformer_trains_as_torchs():
    torch = pytest.importorskip("torch")
    ours = vit(nn)(lambda shape: RNG.standard_normal(shape).astype("float32"))
    theirs = vit(torch.nn)(torch.zeros)
    batch = {"x": RNG.standard_normal((6, 3, 8, 8)), "y": RNG.integers(0, 4, 6)}

    def loss_fn(model, batch):
        if model is ours:
            return nn.functional.cross_entropy(model(batch["x"], np.broadcast_to, np.concatenate), batch["y"])
        return torch.nn.functional.cross_entropy(model(batch["x"], torch.broadcast_to, torch.cat), batch["y"])

    assert_train_alike(ours, theirs, loss_fn, batch, torch)
