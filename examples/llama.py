"""Llama, with grouped queries: Touvron et al. 2023, "Llama 2: open foundation and fine-tuned chat models".

python examples/llama.py [--epochs 2] [--memory 80%] [--text FILE.txt] [--prompt TEXT]

It learns a text, by default Python's own reference, and prints losses in nats a character, and how it goes on with the
prompt: one token a call of a compiled program, which adds a key and a value to those before, in their own memory.

Parameters have the names and shapes of Hugging Face's LlamaForCausalLM, and the fields of a config their names there:
`gl.load(Llama(config, length), "model.safetensors")` is the model of such a file, where rotary angles are not scaled.
"""

import argparse
from functools import partial
from types import SimpleNamespace

import gradloom as gl
from gradloom import nn
from gradloom.examples import reference_text

WINDOW, BATCH = 256, 4
SMALL = {"hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 3, "num_attention_heads": 4}
SMALL |= {"num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False}
Linear = partial(nn.Linear, bias=False)
attention = partial(nn.functional.scaled_dot_product_attention, is_causal=True, enable_gqa=True)


class Attention(nn.Module):
    def __init__(self, config, length):
        width, heads = config.hidden_size, config.num_key_value_heads
        self.size, self.theta = width // config.num_attention_heads, config.rope_theta
        self.q_proj, self.k_proj = Linear(width, width), Linear(width, heads * self.size)
        self.v_proj, self.o_proj = Linear(width, heads * self.size), Linear(width, width)
        self.cache = nn.KVCache(1, heads, length, self.size)

    def forward(self, x, cached):
        n, t, _ = x.shape
        q, k, v = (p(x).reshape(n, t, -1, self.size).swapaxes(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        first = self.cache.length if cached else 0
        q, k = (nn.functional.rotary_embedding(heads, base=self.theta, offset=first) for heads in (q, k))
        y = self.cache.attend(q, k, v) if cached else attention(q, k, v)
        return self.o_proj(y.swapaxes(1, 2).reshape(n, t, -1))


class MLP(nn.Module):
    def __init__(self, width, inner):
        self.gate_proj, self.up_proj, self.down_proj = Linear(width, inner), Linear(width, inner), Linear(inner, width)

    def forward(self, x):
        return self.down_proj(nn.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config, length):
        width, eps = config.hidden_size, config.rms_norm_eps
        self.self_attn, self.mlp = Attention(config, length), MLP(width, config.intermediate_size)
        self.input_layernorm, self.post_attention_layernorm = nn.RMSNorm(width, eps), nn.RMSNorm(width, eps)

    def forward(self, x, cached):
        x = x + self.self_attn(self.input_layernorm(x), cached)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """Logits (n, t, words) of what follows on `tokens` (n, t); `cached` ones, (1, t), follow on those before them."""

    def __init__(self, config, length):
        words, width = config.vocab_size, config.hidden_size
        embed, norm = nn.Embedding(words, width), nn.RMSNorm(width, config.rms_norm_eps)
        layers = nn.ModuleList([Layer(config, length) for _ in range(config.num_hidden_layers)])
        self.model = nn.ModuleDict({"embed_tokens": embed, "layers": layers, "norm": norm})
        self.lm_head = Linear(width, words)
        if config.tie_word_embeddings:
            self.lm_head.weight = embed.weight

    def forward(self, tokens, cached=False):
        x = self.model.embed_tokens(tokens)
        for layer in self.model.layers:
            x = layer(x, cached)
        return self.lm_head(self.model.norm(x))


def loss_fn(model, batch):
    return nn.cross_entropy(model(batch["x"]).swapaxes(1, 2), batch["y"])


def generate(trained, tokens, count, temperature=0.8, key=0):
    """`count` tokens that are drawn after `tokens`, each as soon as it is known."""
    draw = trained.bind(lambda m, token: gl.random.categorical(m(token, cached=True)[0, -1] / temperature), key=key)
    for token in tokens:
        following = draw(token[None, None])
    for _ in range(count):
        yield following
        following = draw(following[None, None])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--memory", help="a bound for all that the step takes, such as 10MB or 80%%")
    parser.add_argument("--text", help="a file to learn from")
    parser.add_argument("--prompt", default="The ")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    text = reference_text.read(options.text)
    tokenizer = gl.data.CharTokenizer(text)
    data, held_out = gl.data.split(gl.data.Windows(tokenizer.encode(text), WINDOW), 0.1)
    model = Llama(SimpleNamespace(**SMALL, vocab_size=tokenizer.vocab_size), length=WINDOW)
    rate = gl.optim.WarmUp(gl.optim.Cosine(2e-3, steps=options.epochs * len(data) // BATCH), steps=50)
    adam = gl.optim.AdamW(rate, betas=(0.9, 0.95), weight_decay=0.1)
    batch = {name: gl.spec((BATCH, WINDOW), "int64") for name in ("x", "y")}
    step = gl.compile_step(model, loss_fn, adam, batch, memory=options.memory, clip_norm=1.0, seed=options.seed)
    history = gl.fit(step, data, epochs=options.epochs, validate=held_out, seed=options.seed)
    tokens = tokenizer.encode(options.prompt)
    made = list(generate(step, tokens, WINDOW - len(tokens), key=options.seed))
    print(options.prompt + tokenizer.decode(made))
    return {"losses": history["val_loss"], "made": made}


if __name__ == "__main__":
    main()
