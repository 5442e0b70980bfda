"""Budgets of steps on a GPU: in the emulator, with attention in tiles, every budget gives the same bits."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.nn import functional as F

WORDS, WIDTH, LENGTH, BATCH = 23, 16, 16, 3


class Block(nn.Module):
    def __init__(self):
        self.before, self.behind = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 4, dropout=0.1, batch_first=True)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        mask = np.triu(np.ones((LENGTH, LENGTH), bool), 1)
        y = self.before(x)
        x = x + self.attention(y, y, y, need_weights=False, attn_mask=mask, is_causal=True)[0]
        return x + self.down(F.gelu(self.up(self.behind(x))))


def ingredients():
    model = nn.Sequential(nn.Embedding(WORDS, WIDTH), Block(), nn.Linear(WIDTH, WORDS))

    def loss(model, batch):
        return F.cross_entropy(model(batch["x"]).reshape(-1, WORDS), batch["y"].reshape(-1))

    rng = np.random.default_rng(0)
    return model, loss, optim.AdamW(1e-2), {name: rng.integers(0, WORDS, (BATCH, LENGTH)) for name in "xy"}


def results(memory):
    model, loss, optimizer, batch = ingredients()
    step = gl.compile_step(model, loss, optimizer, batch, memory=memory, target="cuda-emulated")
    step.report.check()
    assert sum(unit.name == "attention in tiles" for unit in step.report.units) >= 3
    losses = [float(step(batch)) for _ in range(2)]
    assert losses[1] < losses[0]
    return losses, [array.tobytes() for array in step.parameters().values()], step.report


def test_a_budget_gives_the_bits_of_the_step_without():
    losses, bits, free = results(None)
    tight_losses, tight_bits, tight = results("92%")
    assert tight.total_bytes <= 0.92 * free.total_bytes
    assert tight.recompute_flops > 0
    assert not tight.other_bits
    assert (tight_losses, tight_bits) == (losses, bits)


def test_a_refusal_names_the_least_bytes():
    with pytest.raises(gl.MemoryBudgetError) as refused:
        gl.plan_step(*ingredients(), memory=1, target="cuda:sm_90")
    assert f"needs {refused.value.least_bytes:,} bytes" in str(refused.value)
