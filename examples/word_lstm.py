"""A language model of words: an LSTM that reads a text in order, after PyTorch's word_language_model.

python examples/word_lstm.py [--epochs 8] [--text FILE.txt] [--memory 90%] [--seed 0]

The text, by default Python's own reference, is read in 20 streams, 35 words at a time; the state goes on from
one piece to the next, the gradient does not. What is printed is the perplexity, e to the loss, of what is read and of
the last tenth, which is held out; that of the frequencies of words alone; and a text that the model makes.

Zaremba, Sutskever and Vinyals 2014, "Recurrent neural network regularization"; Press and Wolf 2017, "Using the output
embedding to improve language models".
"""

import argparse
import re

import gradloom as gl
import numpy as np
from gradloom import nn
from gradloom.examples import reference_text

STREAMS, LENGTH = 20, 35


class WordLSTM(nn.Module):
    """Logits (t, n, words) of the words that follow on each of `tokens` (t, n), and the state after the last one."""

    def __init__(self, words, width=200, layers=2, dropout=0.2):
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(words, width)
        self.rnn = nn.LSTM(width, width, layers, dropout=dropout)
        self.decoder = nn.Linear(width, words)
        self.decoder.weight = self.encoder.weight
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, tokens, state):
        output, state = self.rnn(self.drop(self.encoder(tokens)), state)
        return self.decoder(self.drop(output)), state

    def initial_state(self, streams):
        shape = (self.rnn.num_layers, streams, self.rnn.hidden_size)
        return np.zeros(shape, "float32"), np.zeros(shape, "float32")


def loss_fn(model, batch):
    logits, state = model(batch["x"], batch["state"])
    return nn.cross_entropy(logits.reshape(-1, logits.shape[-1]), batch["y"].reshape(-1)), state


def words_of(text, least=3):
    """The words and signs of a text as numbers, and what they are; rare ones are all `<unk>`."""
    words = np.array(re.findall(r"\w+|[^\w\s]+", text), dtype=object)
    _, places, counts = np.unique(words, return_inverse=True, return_counts=True)
    words[counts[places] < least] = "<unk>"
    vocabulary, tokens = np.unique(words, return_inverse=True)
    return tokens, vocabulary


def pieces(tokens):
    """What is read, one piece after another: LENGTH words of each stream, and those that follow on them."""
    streams = tokens[: len(tokens) // STREAMS * STREAMS].reshape(STREAMS, -1).T
    for i in range(0, len(streams) - LENGTH, LENGTH):
        yield {"x": streams[i : i + LENGTH], "y": streams[i + 1 : i + LENGTH + 1]}


def perplexity(run, tokens, state):
    """e to the mean loss over `tokens`, by a step, which learns from them, or by a function, which does not."""
    losses = []
    for piece in pieces(tokens):
        loss, state = run({**piece, "state": state})
        losses.append(loss)
    return np.exp(np.mean(losses))


def generate(step, state, word, count):
    def draw(model, word, state):
        logits, state = model(word, state)
        return gl.random.categorical(logits), state

    draw, words = step.bind(draw, key=0), []
    for _ in range(count):
        word, state = draw(word, state)
        words.append(word.item())
    return words


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--text", help="a file to learn from")
    parser.add_argument("--width", type=int, default=200)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--memory", help="a bound for all that the step takes")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)

    tokens, vocabulary = words_of(reference_text.read(options.text))
    train, held_out = np.split(tokens, [len(tokens) * 9 // 10])
    counts = np.bincount(train, minlength=len(vocabulary)) + 1
    frequencies = np.exp(-np.log(counts / counts.sum())[held_out].mean())
    print(f"{len(train)} words to read, {len(vocabulary)} different ones; by frequencies alone {frequencies:.1f}")
    model = WordLSTM(len(vocabulary), options.width)
    state = model.initial_state(STREAMS)
    batch = {**next(pieces(train)), "state": state}
    rate = gl.optim.Cosine(options.lr, steps=options.epochs * len(list(pieces(train))))
    step = gl.compile_step(
        model, loss_fn, gl.optim.AdamW(rate), batch, clip_norm=0.25, memory=options.memory, seed=options.seed
    )
    evaluate, perplexities = step.bind(loss_fn), []
    for epoch in range(1, options.epochs + 1):
        read = perplexity(step, train, state)
        perplexities.append(perplexity(evaluate, held_out, state))
        print(f"epoch {epoch}: {read:.1f}, held out {perplexities[-1]:.1f}", flush=True)
    print(" ".join(vocabulary[generate(step, model.initial_state(1), np.zeros((1, 1), "int64"), 40)]))
    return {"perplexities": perplexities, "frequencies": frequencies}


if __name__ == "__main__":
    main()
