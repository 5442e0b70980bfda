"""`examples/vit.py` learns digits, and trains as the same model in torch does."""

import gradloom as gl
import pytest
from gradloom import nn
from gradloom.examples import digit_images, vit
from trained_against_torch import assert_trains_like_torch


def test_it_learns(monkeypatch):
    of, parts = vit.ViT, digit_images.read()
    zeros_and_ones = [{name: array[part["y"] < 2] for name, array in part.items()} for part in parts]
    monkeypatch.setattr(digit_images, "read", lambda path: zeros_and_ones)
    monkeypatch.setattr(vit, "ViT", lambda side, patch: of(side, patch, width=32, layers=1, heads=2))
    assert vit.main(["--epochs", "5", "--lr", "5e-3"])["accuracy"] > 0.9


@pytest.mark.peers
@pytest.mark.usefixtures("one_thread_for_torch")
def test_it_trains_as_torchs_does():
    torch = pytest.importorskip("torch")
    T = torch.nn

    class Block(T.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = T.LayerNorm(8), T.LayerNorm(8)
            self.attention = T.MultiheadAttention(8, 2, batch_first=True)
            self.mlp = T.Sequential(T.Linear(8, 16), T.GELU(), T.Identity(), T.Linear(16, 8))

        def forward(self, x):
            h = self.norm1(x)
            x = x + self.attention(h, h, h, need_weights=False)[0]
            return x + self.mlp(self.norm2(x))

    class ViT(T.Module):
        def __init__(self):
            super().__init__()
            self.patches = T.Conv2d(1, 8, 4, 4)
            self.class_token, self.positions = T.Parameter(torch.zeros(1, 1, 8)), T.Parameter(torch.zeros(1, 5, 8))
            self.blocks = T.Sequential(Block(), Block())
            self.norm, self.head = T.LayerNorm(8), T.Linear(8, 10)

        def forward(self, x):
            x = self.patches(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1) + self.positions
            return self.head(self.norm(self.blocks(x)[:, 0]))

    model = vit.ViT(side=8, patch=4, width=8, layers=2, heads=2, dropout=0.0)
    model.augment = nn.Identity()
    train, _ = digit_images.read()
    train["x"] = train["x"].astype("float64")
    assert_trains_like_torch(
        model,
        ViT(),
        vit.loss_fn,
        lambda model, batch: T.functional.cross_entropy(model(batch["x"]), batch["y"], label_smoothing=0.1),
        list(gl.data.batches(train, 16))[:4],
        gl.optim.AdamW(1e-3, weight_decay=0.05),
        lambda parameters: torch.optim.AdamW(parameters, 1e-3, weight_decay=0.05),
    )
