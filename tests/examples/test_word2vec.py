"""`examples/word2vec.py` learns what words have in common, and trains as torch's."""

from functools import partial

import gradloom as gl
import numpy as np
import pytest
from gradloom.examples import word2vec
from trained_against_torch import assert_trains_like_torch


def test_it_answers_questions_about_what_it_read():
    assert word2vec.main(["--epochs", "2", "--near", "paris"])["right"] > 0.9


def test_a_text_is_read_word_by_word_and_line_by_line(tmp_path, capsys):
    counts, lines = word2vec.read("To be, or not\nto be!\nor rare", least=2)
    assert counts == {"to": 2, "be": 2, "or": 2}
    assert lines == [[0, 1, 2], [0, 1], [2]]
    pairs = word2vec.pairs([[0, 1, 2], [3, 4]], 1)
    assert list(zip(pairs["center"], pairs["context"])) == [(0, 1), (1, 0), (1, 2), (2, 1), (3, 4), (4, 3)]
    path = tmp_path / "text.txt"
    path.write_text("one two three four five\n" * 100)
    assert word2vec.main(["--text", str(path), "--near", "two", "--epochs", "1"]) == {}
    assert capsys.readouterr().out.splitlines()[-1].startswith("two: ")
    with pytest.raises(SystemExit):
        word2vec.main(["--text", str(path)])
    assert "the text does not have paris, italy, greek, mayor five times" in capsys.readouterr().err


@pytest.mark.peers
@pytest.mark.usefixtures("one_thread_for_torch")
def test_it_trains_as_torchs(monkeypatch):
    """What is drawn beside a pair is the same in every step here."""
    torch = pytest.importorskip("torch")
    n = torch.nn
    rng = np.random.default_rng(0)
    others = rng.integers(0, 11, (6, 5))
    monkeypatch.setattr(gl.random, "choice", lambda count, shape, p: others)

    class SkipGram(n.Module):
        def __init__(self):
            super().__init__()
            self.input, self.output = n.Embedding(11, 8), n.Embedding(11, 8)

        def forward(self, center, context):
            return (self.input(center) * self.output(context)).sum(-1)

    def loss_fn(model, batch):
        near = model(batch["center"], batch["context"])
        far = model(batch["center"][:, None], torch.tensor(others))
        return -(n.functional.logsigmoid(near) + n.functional.logsigmoid(-far).sum(1)).mean()

    batches = [{name: rng.integers(0, 11, 6) for name in ("center", "context")} for _ in range(4)]
    ours, our_loss = word2vec.SkipGram(11, 8), word2vec.sampled_loss(np.arange(1.0, 12.0), 5)
    adam, make = gl.optim.Adam(5e-3), partial(torch.optim.Adam, lr=5e-3)
    assert_trains_like_torch(ours, SkipGram(), our_loss, loss_fn, batches, adam, make)
