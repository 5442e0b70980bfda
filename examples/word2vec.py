"""Word vectors by skip-grams with negative sampling: words that keep the same company come to lie near each other.

python examples/word2vec.py [--epochs 5] [--near paris mayor] [--text FILE.txt] [--size 32] [--window 4] [--seed 0]

The text is made of sentences on ten countries and their capitals, none of which names both. What is printed are the
words nearest to some, and how many questions are answered right such as "paris is to france as what is to italy", by
the sum of three vectors. With a text of one's own, a sentence a line, only nearest words are printed.

Mikolov et al. 2013, "Distributed representations of words and phrases and their compositionality".
"""

import argparse
import re
from collections import Counter
from itertools import permutations

import gradloom as gl
import numpy as np
from gradloom import nn

FACTS = """france paris french cheese, italy rome italian pasta, spain madrid spanish paella, japan tokyo japanese rice,
greece athens greek olives, russia moscow russian borscht, germany berlin german pretzels, india delhi hindi curry,
portugal lisbon portuguese sardines, korea seoul korean kimchi"""
COUNTRIES = [dict(zip(("country", "city", "language", "food"), fact.split())) for fact in FACTS.split(",")]
SENTENCES = """the mayor of {city} likes {food}, people in the streets of {city} speak {language},
a train to {city} sells {food} at noon, the museums of {city} explain all in {language},
the president of {country} likes {food}, people in the fields of {country} speak {language},
the border of {country} smells of {food} at noon, the laws of {country} explain all in {language}"""


def sentences(count, rng):
    """A text of so many sentences, one a line."""
    return "\n".join(rng.choice(SENTENCES.split(",")).format(**rng.choice(COUNTRIES)) for _ in range(count))


def read(text, least=5):
    """The words that a text has `least` times or more, with their counts, and its lines as numbers of these words."""
    lines = [re.findall(r"\w+", line.lower()) for line in text.splitlines()]
    counts = Counter(word for line in lines for word in line)
    counts = {word: count for word, count in counts.most_common() if count >= least}
    number = {word: i for i, word in enumerate(counts)}
    return counts, [[number[word] for word in line if word in number] for line in lines]


def pairs(lines, window):
    """Each word beside those at most `window` places away from it in its line."""
    found = []
    for line in lines:
        for i, word in enumerate(line):
            found += [(word, other) for other in line[max(i - window, 0) : i] + line[i + 1 : i + 1 + window]]
    center, context = np.array(found).T
    return {"center": center, "context": context}


class SkipGram(nn.Module):
    """The logit of that a word stands beside another: arrays of words that broadcast, to their shape."""

    def __init__(self, words, size):
        self.input, self.output = nn.Embedding(words, size), nn.Embedding(words, size)
        nn.init.uniform_(self.input.weight, -0.5 / size, 0.5 / size)
        nn.init.zeros_(self.output.weight)

    def forward(self, center, context):
        return (self.input(center) * self.output(context)).sum(axis=-1)


def sampled_loss(counts, negatives):
    """The loss of pairs, beside `negatives` words for each that are drawn by their counts to the power of 3/4."""
    p = counts**0.75 / (counts**0.75).sum()

    def loss_fn(model, batch):
        center = batch["center"][:, None]
        others = gl.random.choice(len(p), (len(center), negatives), p=p)
        near, far = model(center, batch["context"][:, None]), model(center, others)
        return (nn.softplus(-near).sum(axis=1) + nn.softplus(far).sum(axis=1)).mean()

    return loss_fn


def answers(vectors, number):
    """Whether the city of one country is found by that of another, for each two of them."""
    for one, other in permutations(COUNTRIES, 2):
        given = [number[word] for word in (one["city"], one["country"], other["country"])]
        likeness = vectors @ (vectors[given] * [[1], [-1], [1]]).sum(axis=0)
        likeness[given] = -np.inf
        yield likeness.argmax() == number[other["city"]]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--near", nargs="+", default=["paris", "italy", "greek", "mayor"], help="words to look around")
    parser.add_argument("--text", help="a file to learn from")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--window", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    rng = np.random.default_rng(options.seed)
    counts, lines = read(gl.data.read_text(options.text) if options.text else sentences(5000, rng))
    if unknown := [word for word in options.near if word not in counts]:
        parser.error(f"the text does not have {', '.join(unknown)} five times; write some of its words after --near")
    data = gl.data.Arrays(pairs(lines, options.window), 512, drop_last=True, seed=options.seed)
    model, loss_fn = SkipGram(len(counts), options.size), sampled_loss(np.array([*counts.values()]), negatives=5)
    step = gl.compile_step(model, loss_fn, gl.optim.Adam(5e-3), next(iter(data)), seed=options.seed)
    gl.fit(step, data, epochs=options.epochs)

    vectors, number = step.parameters()["input.weight"], {word: i for i, word in enumerate(counts)}
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for word in options.near:
        nearest = np.argsort(-(vectors @ vectors[number[word]]))
        print(f"{word}: {', '.join(list(counts)[i] for i in nearest[1:6])}")
    if options.text:
        return {}
    right = np.mean(list(answers(vectors, number)))
    print(f"{right:.0%} of the questions are answered right")
    return {"right": right}


if __name__ == "__main__":
    main()
