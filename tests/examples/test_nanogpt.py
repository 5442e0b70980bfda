"""`examples/nanogpt.py` learns a text, reads and writes Hugging Face's names, and is GPT-2 as torch computes it."""

import math

import gradloom as gl
import numpy as np
import pytest
from gradloom.examples import nanogpt
from trained_against_torch import assert_trains_like_torch

SIZES = {"words": 300, "positions": 12, "width": 64, "layers": 2, "heads": 1}
TOKENS = np.random.default_rng(0).integers(0, 300, (4, 6, 13))
BATCHES = [{"x": tokens[:, :-1], "y": tokens[:, 1:]} for tokens in TOKENS]


def test_it_learns_a_text_and_goes_on_with_it(tmp_path, capsys, monkeypatch):
    of = nanogpt.GPT
    monkeypatch.setattr(nanogpt, "GPT", lambda words, places, **sizes: of(words, places, width=32, layers=1, heads=2))
    text = tmp_path / "text.txt"
    text.write_text("to be, or not to be: that is the question. " * 120)
    figures = nanogpt.main(["--text", str(text), "--epochs", "12", "--prompt", "to ", "--count", "70"])
    assert figures["losses"][-1] < 2 < figures["losses"][0]
    made = capsys.readouterr().out.splitlines()[-1]
    assert len(made) == 73
    assert made.startswith("to ")


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_files_of_hugging_face_are_read_whole(tmp_path, prefix):
    pytest.importorskip("tokenizers")
    wanted = nanogpt.GPT(**SIZES).state_dict(3)
    arrays = {name.removeprefix("transformer."): array for name, array in wanted.items() if name != "lm_head.weight"}
    masks = {f"h.{i}.attn.bias": np.tri(12, dtype="float32")[None, None] for i in range(2)}
    gl.save_arrays(tmp_path / "model.safetensors", {prefix + name: a for name, a in {**arrays, **masks}.items()})
    gl.data.BPETokenizer.train("to be or not to be " * 20, 300).save(tmp_path / "tokenizer.json")
    trained, positions, tokenizer = nanogpt.pretrained(tmp_path)
    assert positions == 12
    assert tokenizer.vocab_size <= 300
    for name, array in trained.parameters().items():
        np.testing.assert_array_equal(array, wanted[name])
    tokens = np.arange(20)
    made = nanogpt.generate(trained, tokens, 3, positions)
    np.testing.assert_array_equal(made[:20], tokens)
    np.testing.assert_array_equal(made[8:], nanogpt.generate(trained, tokens[8:], 3, positions))


def test_it_has_the_parameters_of_gpt2():
    model = nanogpt.GPT(words=50257, positions=1024, width=768, layers=12, heads=12)
    assert sum(math.prod(p.shape) for _, p in model.stored_parameters()) == 124_439_808
    names = [name for name, _ in model.named_parameters()]
    assert names[:2] == ["transformer.wte.weight", "transformer.wpe.weight"]
    assert names[2:14] == [
        f"transformer.h.0.{part}.{kind}"
        for part in ("ln_1", "ln_2", "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
        for kind in ("weight", "bias")
    ]


@pytest.mark.peers
@pytest.mark.usefixtures("one_thread_for_torch")
def test_it_trains_as_torchs_does():
    torch = pytest.importorskip("torch")
    T, F = torch.nn, torch.nn.functional

    class Conv1D(T.Module):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.weight, self.bias = T.Parameter(torch.empty(inputs, outputs)), T.Parameter(torch.empty(outputs))

        def forward(self, x):
            return torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], -1)

    class Block(T.Module):
        def __init__(self):
            super().__init__()
            self.ln_1, self.ln_2 = T.LayerNorm(64), T.LayerNorm(64)
            self.attn = T.ModuleDict({"c_attn": Conv1D(64, 192), "c_proj": Conv1D(64, 64)})
            self.mlp = T.ModuleDict({"c_fc": Conv1D(64, 256), "c_proj": Conv1D(256, 64)})

        def forward(self, x):
            q, k, v = (
                part.view(*x.shape[:2], 4, 16).transpose(1, 2) for part in self.attn.c_attn(self.ln_1(x)).split(64, 2)
            )
            scores = (q @ k.transpose(-1, -2) / 4).masked_fill(~torch.ones(12, 12).tril().bool(), -math.inf)
            x = x + self.attn.c_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape))
            return x + self.mlp.c_proj(F.gelu(self.mlp.c_fc(self.ln_2(x)), approximate="tanh"))

    class GPT(T.Module):
        def __init__(self):
            super().__init__()
            embeddings = {"wte": T.Embedding(300, 64), "wpe": T.Embedding(12, 64)}
            self.transformer = T.ModuleDict(
                {**embeddings, "h": T.ModuleList([Block(), Block()]), "ln_f": T.LayerNorm(64)}
            )
            self.lm_head = T.Linear(64, 300, bias=False)
            self.lm_head.weight = self.transformer.wte.weight

        def forward(self, tokens):
            x = self.transformer.wte(tokens) + self.transformer.wpe(torch.arange(12))
            for block in self.transformer.h:
                x = block(x)
            return self.lm_head(self.transformer.ln_f(x))

    assert_trains_like_torch(
        nanogpt.GPT(**{**SIZES, "heads": 4}),
        GPT(),
        nanogpt.loss_fn,
        lambda model, batch: F.cross_entropy(model(batch["x"]).flatten(0, 1), batch["y"].flatten()),
        BATCHES,
        gl.optim.AdamW(1e-3, betas=(0.9, 0.99), weight_decay=0.1),
        lambda parameters: torch.optim.AdamW(parameters, 1e-3, betas=(0.9, 0.99), weight_decay=0.1),
        clip_norm=100.0,
    )
