"""`examples/word_lstm.py` learns a text in order, and trains as the same model in torch does."""

import gradloom as gl
import numpy as np
import pytest
from gradloom.examples import reference_text, word_lstm
from trained_against_torch import assert_trains_like_torch


def test_it_learns_a_text_and_makes_one(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("to be , or not to be : that is the question . " * 1000)
    figures = word_lstm.main(["--text", str(text), "--epochs", "4", "--width", "16", "--lr", "0.03"])
    assert figures["perplexities"][-1] < 2 < 8 < figures["frequencies"]
    assert len(capsys.readouterr().out.splitlines()[-1].split()) == 40


def test_the_state_goes_on_from_one_piece_to_the_next():
    model = word_lstm.WordLSTM(words=7, width=5)
    tokens = np.random.default_rng(0).integers(0, 7, (6, 2))
    start = model.initial_state(2)
    batch = {"x": tokens, "y": tokens, "state": start}
    step = gl.compile_step(model, word_lstm.loss_fn, gl.optim.SGD(0.1), batch)
    forward = step.bind(lambda model, x, state: model(x, state))
    whole, end = forward(tokens, start)
    first, between = forward(tokens[:3], start)
    second, last = forward(tokens[3:], between)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(last, end, rtol=1e-5, atol=1e-6)


def test_words_and_pieces_of_a_text():
    tokens, vocabulary = word_lstm.words_of("a b, a b a, a; b c", least=2)
    assert vocabulary.tolist() == [",", "<unk>", "a", "b"]
    assert "".join(vocabulary[tokens]) == "ab,aba,a<unk>b<unk>"
    pieces = list(word_lstm.pieces(np.arange(word_lstm.STREAMS * 71 + 3)))
    assert [piece["x"][0, 1] for piece in pieces] == [71, 71 + 35]
    assert all((piece["y"] == piece["x"] + 1).all() for piece in pieces)


def test_the_reference_holds_each_paragraph_once():
    paragraphs = reference_text.read().split("\n\n")
    assert len(paragraphs) == len(set(paragraphs)) > 1000


@pytest.mark.peers
@pytest.mark.usefixtures("one_thread_for_torch")
def test_it_trains_as_torchs_does():
    torch = pytest.importorskip("torch")
    T = torch.nn

    class WordLSTM(T.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.rnn, self.decoder = T.Embedding(11, 6), T.LSTM(6, 6, 2), T.Linear(6, 11)
            self.decoder.weight = self.encoder.weight

        def forward(self, tokens, state):
            return self.decoder(self.rnn(self.encoder(tokens), tuple(state))[0])

    rng = np.random.default_rng(0)
    batches = [
        {"x": x[:-1], "y": x[1:], "state": tuple(rng.standard_normal((2, 2, 3, 6)))}
        for x in rng.integers(0, 11, (5, 8, 3))
    ]
    assert_trains_like_torch(
        word_lstm.WordLSTM(words=11, width=6, dropout=0.0),
        WordLSTM(),
        lambda model, batch: word_lstm.loss_fn(model, batch)[0],
        lambda model, batch: T.functional.cross_entropy(
            model(batch["x"], batch["state"]).flatten(0, 1), batch["y"].flatten()
        ),
        batches,
        gl.optim.AdamW(1e-2),
        lambda parameters: torch.optim.AdamW(parameters, 1e-2),
    )
