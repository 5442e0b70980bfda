"""`examples/llama.py` learns a text, generates what its whole forward says, and is the Llama of Hugging Face."""

from functools import partial
from types import SimpleNamespace

import gradloom as gl
import numpy as np
import pytest
from gradloom.examples import llama
from trained_against_torch import assert_trains_like_torch

CONFIG = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 500.0,
    "tie_word_embeddings": False,
}
TOKENS = np.random.default_rng(0).integers(0, 50, (4, 3, 13))


def small(**changes):
    return SimpleNamespace(**{**CONFIG, **changes})


def test_it_learns_a_text_and_goes_on_with_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(llama, "SMALL", {name: value for name, value in CONFIG.items() if name != "vocab_size"})
    monkeypatch.setattr(llama, "WINDOW", 40)
    text = tmp_path / "text.txt"
    text.write_text("to be, or not to be: that is the question. " * 100)
    figures = llama.main(["--text", str(text), "--epochs", "4", "--prompt", "to "])
    assert figures["losses"][-1] < 1 < figures["losses"][0]
    assert len(figures["made"]) == 37
    assert capsys.readouterr().out.splitlines()[-1].startswith("to ")


@pytest.mark.parametrize("tied", [False, True])
def test_one_token_a_call_gives_the_logits_of_the_whole(tmp_path, tied):
    llama_of = partial(llama.Llama, small(tie_word_embeddings=tied), 13)
    gl.save_arrays(tmp_path / "model.safetensors", llama_of().state_dict(3))
    loaded = gl.load(llama_of(), tmp_path / "model.safetensors")
    whole, one = loaded.bind(llama.Llama.forward, lambda model, tokens: model(tokens, cached=True))
    tokens = TOKENS[0, :1]
    parts = [one(tokens[:, i : i + 1]) for i in range(13)]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole(tokens), rtol=1e-4, atol=1e-5)
    with pytest.raises(IndexError, match="out of range"):
        one(tokens[:, :1])
    again = gl.load(llama_of(), tmp_path / "model.safetensors")
    made = [int(token) for token in llama.generate(again, tokens[0, :5], 8, temperature=1e-3)]
    wanted = whole(np.array([[*tokens[0, :5], *made]]))[0, 4:-1].argmax(axis=-1)
    assert made == wanted.tolist()


def torchs_llama(torch, c):
    n, F = torch.nn, torch.nn.functional
    size = c.hidden_size // c.num_attention_heads
    linear = partial(n.Linear, bias=False)
    norm = partial(n.RMSNorm, c.hidden_size, c.rms_norm_eps)

    def turned(x):
        angles = torch.outer(torch.arange(x.shape[2]), c.rope_theta ** (-torch.arange(0, size, 2).double() / size))
        cos, sin = (f(angles).repeat(1, 2) for f in (torch.cos, torch.sin))
        return x * cos + torch.cat([-x[..., size // 2 :], x[..., : size // 2]], -1) * sin

    class Attention(n.Module):
        def __init__(self):
            super().__init__()
            widths = {"q": c.num_attention_heads, "k": c.num_key_value_heads, "v": c.num_key_value_heads}
            for name, heads in widths.items():
                setattr(self, f"{name}_proj", linear(c.hidden_size, heads * size))
            self.o_proj = linear(c.hidden_size, c.hidden_size)

        def forward(self, x):
            q, k, v = (
                p(x).view(*x.shape[:2], -1, size).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
            )
            y = F.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=True, enable_gqa=True)
            return self.o_proj(y.transpose(1, 2).reshape(x.shape))

    class Layer(n.Module):
        def __init__(self):
            super().__init__()
            self.self_attn, inner = Attention(), c.intermediate_size
            gates = {name: linear(c.hidden_size, inner) for name in ("gate_proj", "up_proj")}
            self.mlp = n.ModuleDict({**gates, "down_proj": linear(inner, c.hidden_size)})
            self.input_layernorm, self.post_attention_layernorm = norm(), norm()

        def forward(self, x):
            x = x + self.self_attn(self.input_layernorm(x))
            y = self.post_attention_layernorm(x)
            return x + self.mlp.down_proj(F.silu(self.mlp.gate_proj(y)) * self.mlp.up_proj(y))

    class Llama(n.Module):
        def __init__(self):
            super().__init__()
            layers = n.ModuleList([Layer() for _ in range(c.num_hidden_layers)])
            embed = n.Embedding(c.vocab_size, c.hidden_size)
            self.model = n.ModuleDict({"embed_tokens": embed, "layers": layers, "norm": norm()})
            self.lm_head = linear(c.hidden_size, c.vocab_size)

        def forward(self, tokens):
            return self.lm_head(self.model.norm(n.Sequential(*self.model.layers)(self.model.embed_tokens(tokens))))

    return Llama()


@pytest.mark.peers
@pytest.mark.usefixtures("one_thread_for_torch")
@pytest.mark.parametrize(("peer", "tolerance"), [("torch", 1e-9), ("hugging face", 1e-5)])
def test_it_trains_as_its_like_does(peer, tolerance):
    """Hugging Face's norms and angles are float32."""
    torch = pytest.importorskip("torch")
    if peer == "torch":
        theirs = torchs_llama(torch, small())
    else:
        transformers = pytest.importorskip("transformers")
        theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG))

    def loss_fn(model, batch):
        logits = model(batch["x"])
        return torch.nn.functional.cross_entropy(getattr(logits, "logits", logits).swapaxes(1, 2), batch["y"])

    batches = [{"x": tokens[:, :-1], "y": tokens[:, 1:]} for tokens in TOKENS]
    adam, make = gl.optim.AdamW(1e-3, weight_decay=0.1), partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.1)
    assert_trains_like_torch(
        llama.Llama(small(), 4), theirs, llama.loss_fn, loss_fn, batches, adam, make, tolerance=tolerance
    )
