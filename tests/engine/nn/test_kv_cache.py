"""Generation with a cache of keys and values: equal to the whole forward, one position at a time, in place."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

F = nn.functional
WORDS, WIDTH, HEADS, LIMIT = 11, 12, 4, 20
RNG = np.random.default_rng(0)


class Attention(nn.Module):
    def __init__(self, key_heads, batch, dtype):
        size = WIDTH // HEADS
        self.q, self.o = nn.Linear(WIDTH, WIDTH, dtype=dtype), nn.Linear(WIDTH, WIDTH, dtype=dtype)
        self.k, self.v = (nn.Linear(WIDTH, key_heads * size, dtype=dtype) for _ in range(2))
        self.cache = nn.KVCache(batch, key_heads, LIMIT, size, dtype)

    def forward(self, x, cached):
        n, t, _ = x.shape
        q, k, v = (p(x).reshape(n, t, -1, WIDTH // HEADS).transpose(0, 2, 1, 3) for p in (self.q, self.k, self.v))
        mask = None
        if cached:
            k, v, mask = self.cache(k, v)
        y = F.scaled_dot_product_attention(q, k, v, mask, is_causal=not cached, enable_gqa=True)
        return self.o(y.transpose(0, 2, 1, 3).reshape(n, t, WIDTH))


class Model(nn.Module):
    def __init__(self, key_heads=HEADS, batch=2, dtype="float32"):
        self.words = nn.Embedding(WORDS, WIDTH, dtype=dtype)
        self.places = nn.Embedding(LIMIT, WIDTH, dtype=dtype)
        self.layers = nn.ModuleList([Attention(key_heads, batch, dtype) for _ in range(2)])

    def forward(self, tokens, cached=False):
        places = np.arange(tokens.shape[1])
        if cached:
            places = places + self.layers[0].cache.length
        x = self.words(tokens) + self.places(places)
        for layer in self.layers:
            x = x + layer(x, cached)
        return x @ self.words.weight.T

    def generate(self, tokens):
        return self(tokens, cached=True)

    def reset(self):
        for layer in self.layers:
            layer.cache.reset()


def loss_fn(model, batch):
    return F.cross_entropy(model(batch[:, :-1]).reshape(-1, WORDS), batch[:, 1:].reshape(-1))


def bound(model):
    batch = RNG.integers(0, WORDS, (3, 9))
    step = gl.compile_step(model, loss_fn, gl.optim.AdamW(1e-2), batch, threads=1)
    step(batch)
    return step, step.bind(Model.forward, Model.generate, Model.reset)


@pytest.mark.parametrize(("key_heads", "dtype", "tolerance"), [(HEADS, "float32", 1e-5), (2, "float64", 1e-12)])
def test_generation_is_the_whole_forward_to_rounding(key_heads, dtype, tolerance):
    step, (forward, generate, reset) = bound(Model(key_heads, dtype=dtype))
    tokens = RNG.integers(0, WORDS, (2, LIMIT))
    wanted = forward(tokens)
    got = [generate(tokens[:, :7]), *(generate(tokens[:, i : i + 1]) for i in range(7, LIMIT))]
    np.testing.assert_allclose(np.concatenate(got, axis=1), wanted, rtol=tolerance, atol=tolerance)
    with pytest.raises(IndexError, match="an index is out of range for 20 entries"):
        generate(tokens[:, :1])
    assert step.buffers()["layers.0.cache.length"] == LIMIT
    reset()
    again = generate(tokens[:, :1])
    np.testing.assert_allclose(again, wanted[:, :1], rtol=tolerance, atol=tolerance)
    assert not any("cache" in name for name in Model().state_dict())


def test_a_position_is_written_in_the_caches_own_memory():
    step, (_, generate, _) = bound(Model())
    generate(np.zeros((2, 1), int))
    before = step.buffers()
    generate(np.ones((2, 1), int))
    for name, array in step.buffers().items():
        if name.endswith(("keys", "values")):
            changed = np.flatnonzero((array != before[name]).any(axis=(0, 1, 3)))
            assert changed.tolist() == [1]
    (program,) = generate._signatures.values()
    plan = program.executable.plan
    assert not plan.copied_back
    written = [node for node in plan.graph.nodes if node.op.changes is not None]
    assert len(written) == 4
    for node in written:
        assert plan.in_place[node] == {0: 0}
        assert plan.locations[node.output].place == "input"


def test_what_does_not_fit_a_cache_is_refused():
    with pytest.raises(ValueError, match=r"sizes are 1 or more, got \(1, 2, 0, 4\)"):
        nn.KVCache(1, 2, 0, 4)
    cache = nn.KVCache(1, 2, 5, 4)
    assert repr(cache) == "KVCache(1, 2, 5, 4)"
    for shape, dtype in (
        ((1, 2, 6, 4), "float32"),
        ((1, 2, 0, 4), "float32"),
        ((1, 2, 4), "float32"),
        ((2, 2, 1, 4), "f4"),
    ):
        x = np.ones(shape, dtype)
        with pytest.raises(gl.ShapeError, match=r"are \(1, 2, L, 4\) float32 with L from 1 to 5, got .* at \S*test_kv"):
            nn.functional_call(cache, {}, x, x, training=True)
    with pytest.raises(gl.ShapeError, match="float64"):
        nn.functional_call(cache, {}, np.ones((1, 2, 1, 4)), np.ones((1, 2, 1, 4)), training=True)


class Attending(nn.Module):
    def __init__(self, heads, limit, dtype):
        self.cache, self.other = (nn.KVCache(2, heads, limit, 3, dtype) for _ in range(2))
        self.weight = nn.Parameter((1,), dtype)

    def forward(self, q, k, v):
        attended = self.cache.attend(q, k, v, scale=0.7)
        k, v, mask = self.other(k, v)
        return attended, F.scaled_dot_product_attention(q, k, v, mask, scale=0.7, enable_gqa=True)


@pytest.mark.parametrize(("heads", "dtype", "tolerance"), [(4, "float32", 1e-5), (2, "float64", 1e-12)])
def test_what_reads_a_part_of_the_cache_is_attention_to_the_whole(heads, dtype, tolerance):
    model = Attending(heads, 300, dtype)
    loss = np.ones(1, dtype)
    step = gl.compile_step(model, lambda model, x: (model.weight * x).sum(), gl.optim.SGD(0.1), loss, threads=1)
    attend = step.bind(lambda model, *x: model(*x))
    for count in (2, 1, 250, 1, 2, 1, 43):  # over the edge of a block, and to the end
        q = RNG.standard_normal((2, 4, count, 3)).astype(dtype)
        k, v = RNG.standard_normal((2, 2, heads, count, 3)).astype(dtype)
        part, whole = attend(q, k, v)
        np.testing.assert_allclose(part, whole, rtol=tolerance, atol=tolerance)
    assert step.buffers()["cache.length"] == 300
    with pytest.raises(gl.ShapeError, match=rf"the query is \(2, G {heads}, 43, 3\) {dtype}, got \(2, 4, 42, 3\)"):
        attend(q[:, :, 1:], k, v)


def test_many_tokens_are_generated_in_one_call():
    step, (_, generate, reset) = bound(Model())

    def tokens_of(model, token):
        def one(token, _):
            token = model.generate(token).argmax(axis=-1)
            return token, token

        return nn.scan(model, one, token, length=8)[1]

    at_once = step.bind(tokens_of)
    token = np.array([[3], [5]])
    made = at_once(token)
    assert step.buffers()["layers.1.cache.length"] == 8
    (program,) = at_once._signatures.values()
    assert program.executable.plan.arena_bytes < 20_000
    reset()
    for wanted in made:
        token = generate(token).argmax(axis=-1)
        np.testing.assert_array_equal(token, wanted)
