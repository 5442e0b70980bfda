"""GPT-2, after Karpathy's nanoGPT: Radford et al. 2019, "Language models are unsupervised multitask learners".

python examples/nanogpt.py [--epochs 3] [--memory 80%] [--text FILE.txt] [--prompt TEXT]
python examples/nanogpt.py --pretrained FOLDER --prompt TEXT

Parameters have the names and shapes of Hugging Face's GPT2LMHeadModel. FOLDER has its files, such as those of `gpt2`:
model.safetensors and tokenizer.json. The text is Python's own reference by default. What is printed are losses in nats
a character, of text that is read and of text that is held out, and how the model goes on with the prompt.
"""

import argparse

import gradloom as gl
import numpy as np
from gradloom import nn
from gradloom.examples import reference_text


class Conv1D(nn.Module):
    """x @ weight + bias: a linear layer whose weight is (inputs, outputs), as in the files of GPT-2."""

    def __init__(self, inputs, outputs):
        self.weight, self.bias = nn.Parameter((inputs, outputs)), nn.Parameter(np.zeros(outputs, "float32"))

    def forward(self, x):
        return x @ self.weight + self.bias


class Block(nn.Module):
    def __init__(self, width, heads):
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.ModuleDict({"c_attn": Conv1D(width, 3 * width), "c_proj": Conv1D(width, width)})
        self.mlp = nn.ModuleDict({"c_fc": Conv1D(width, 4 * width), "c_proj": Conv1D(4 * width, width)})

    def forward(self, x):
        n, t, width = x.shape
        q, k, v = self.attn.c_attn(self.ln_1(x)).reshape(n, t, 3, self.heads, -1).transpose(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn.c_proj(y.swapaxes(1, 2).reshape(n, t, width))
        return x + self.mlp.c_proj(nn.gelu(self.mlp.c_fc(self.ln_2(x)), approximate="tanh"))


class GPT(nn.Module):
    """Logits (n, t, words) of the tokens that follow on each of `tokens` (n, t), or on those at places `last` alone."""

    def __init__(self, words, positions, width, layers, heads):
        embeddings = {"wte": nn.Embedding(words, width), "wpe": nn.Embedding(positions, width)}
        blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.transformer = nn.ModuleDict({**embeddings, "h": blocks, "ln_f": nn.LayerNorm(width)})
        self.lm_head = nn.Linear(width, words, bias=False)
        self.lm_head.weight = self.transformer.wte.weight
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02 / np.sqrt(2 * layers) if "c_proj" in name else 0.02)

    def forward(self, tokens, last=slice(None)):
        x = self.transformer.wte(tokens) + self.transformer.wpe.weight[: tokens.shape[1]]
        for block in self.transformer.h:
            x = block(x)
        return self.lm_head(self.transformer.ln_f(x[:, last]))


def loss_fn(model, batch):
    logits = model(batch["x"])
    return nn.cross_entropy(logits.reshape(-1, logits.shape[-1]), batch["y"].reshape(-1))


def pretrained(folder):
    """The GPT of Hugging Face's files, as large as its arrays say, how many positions it has, and its tokenizer."""
    arrays = {  # early files have no prefix, and hold the causal masks
        f"transformer.{name.removeprefix('transformer.')}": array
        for name, array in gl.load_arrays(f"{folder}/model.safetensors").items()
        if not name.endswith((".attn.bias", "lm_head.weight"))
    }
    (words, width), (positions, _) = (arrays[f"transformer.{name}.weight"].shape for name in ("wte", "wpe"))
    layers = sum(name.endswith("ln_1.weight") for name in arrays)
    trained = gl.load(GPT(words, positions, width, layers, heads=width // 64), arrays)
    return trained, positions, gl.data.BPETokenizer.load(f"{folder}/tokenizer.json")


def generate(trained, tokens, count, positions, key=0):
    """`tokens`, and `count` that are drawn after them; the model reads the last ones that it has positions for."""
    draw = trained.bind(lambda model, window, last: gl.random.categorical(model(window[None], last)[0] / 0.8), key=key)
    for _ in range(count):
        window = tokens[-positions:]
        tokens = np.append(tokens, draw(np.pad(window, (0, positions - len(window))), np.array(len(window) - 1)))
    return tokens


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--memory", help="a bound for all that the step takes")
    parser.add_argument("--text", help="a file to learn from")
    parser.add_argument("--pretrained", metavar="FOLDER", help="Hugging Face's files, to generate with")
    parser.add_argument("--prompt", default="The ")
    parser.add_argument("--count", type=int, default=400, help="tokens to generate")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    losses = []
    if options.pretrained:
        trained, positions, tokenizer = pretrained(options.pretrained)
    else:
        text = reference_text.read(options.text)
        tokenizer, positions = gl.data.CharTokenizer(text), 64
        data, held_out = gl.data.split(gl.data.Windows(tokenizer.encode(text), positions), 0.1)
        batch = {name: gl.spec((16, positions), "int64") for name in ("x", "y")}
        rate = gl.optim.WarmUp(gl.optim.Cosine(2e-3, steps=options.epochs * len(data) // 16), steps=50)
        model = GPT(tokenizer.vocab_size, positions, width=128, layers=4, heads=4)
        adam = gl.optim.AdamW(rate, betas=(0.9, 0.99), weight_decay=0.1)
        trained = gl.compile_step(model, loss_fn, adam, batch, clip_norm=1.0, memory=options.memory, seed=options.seed)
        losses = gl.fit(trained, data, epochs=options.epochs, validate=held_out, seed=options.seed)["val_loss"]
    print(tokenizer.decode(generate(trained, tokenizer.encode(options.prompt), options.count, positions, options.seed)))
    return {"losses": losses}


if __name__ == "__main__":
    main()
