"""A graph convolutional network: it classifies the nodes of a graph of which few are labelled.

python examples/gcn.py [--steps 200] [--nodes 1000] [--labels 5] [--seed 0]

The graph is drawn: nodes of four communities, whose edges mostly stay inside, with features that say little. Five nodes
of each community have labels to train with. A layer sums over the edges that lead to a node, where each is weighted by
the degrees of its ends. What is printed is the accuracy on the nodes without labels, of this network and of the same
one that does not see the edges.

Kipf and Welling 2017, "Semi-supervised classification with graph convolutional networks".
"""

import argparse

import gradloom as gl
import numpy as np
from gradloom import nn

CLASSES, FEATURES = 4, 32


class GraphConvolution(nn.Module):
    """x (nodes, inputs) to (nodes, outputs), along edges (2, E) from the first row to the second, of weights (E,)."""

    def __init__(self, inputs, outputs):
        self.lin = nn.Linear(inputs, outputs, bias=False)
        self.bias = nn.Parameter(np.zeros(outputs, np.float32))

    def forward(self, x, edges, weights):
        source, target = edges
        messages = self.lin(x)[source] * weights[:, None]
        return gl.numpy.segment_sum(messages, target, num_segments=len(x)) + self.bias


class GCN(nn.Module):
    def __init__(self, hidden=16, dropout=0.5):
        self.conv1 = GraphConvolution(FEATURES, hidden)
        self.conv2 = GraphConvolution(hidden, CLASSES)
        self.dropout = nn.Dropout(dropout)

    def forward(self, graph):
        x = self.dropout(graph["x"])
        x = self.dropout(nn.relu(self.conv1(x, graph["edges"], graph["weights"])))
        return self.conv2(x, graph["edges"], graph["weights"])


def loss_fn(model, graph):
    known = graph["labelled"]
    return nn.cross_entropy(model(graph)[known], graph["y"][known])


def normalized(edges, nodes):
    """The edges both ways and one from each node to itself; each is weighted by 1 / √(product of its ends' degrees)."""
    loops = np.tile(np.arange(nodes), (2, 1))
    edges = np.concatenate([edges, edges[::-1], loops], axis=1)
    degrees = np.bincount(edges[1], minlength=nodes)
    return {"edges": edges, "weights": (1 / np.sqrt(degrees[edges].prod(axis=0))).astype(np.float32)}


def communities(nodes, labels, rng):
    """A graph of communities without its edges, and these. `labels` nodes of each community are labelled."""
    y = rng.integers(0, CLASSES, nodes)
    x = rng.standard_normal((CLASSES, FEATURES))[y] / 3 + rng.standard_normal((nodes, FEATURES))
    edges = rng.integers(0, nodes, (2, 8 * nodes))
    kept = (y[edges[0]] == y[edges[1]]) | (rng.random(8 * nodes) < 1 / 8)
    labelled = np.concatenate([rng.permutation(np.flatnonzero(y == c))[:labels] for c in range(CLASSES)])
    return {"x": x.astype(np.float32), "y": y, "labelled": labelled}, edges[:, kept]


def train(graph, options):
    """The accuracy on the nodes that are not labelled."""
    optimizer = gl.optim.Adam(1e-2, weight_decay=5e-4)
    step = gl.compile_step(GCN(), loss_fn, optimizer, graph, seed=options.seed)
    for i in range(options.steps):
        loss = step(graph)
        if (i + 1) % 50 == 0:
            print(f"step {i + 1:4}  loss {loss:.4f}")
    right = step.bind(GCN.forward)(graph).argmax(axis=1) == graph["y"]
    return float(np.delete(right, graph["labelled"]).mean())


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--labels", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)

    graph, edges = communities(options.nodes, options.labels, np.random.default_rng(options.seed))
    with_edges = train(graph | normalized(edges, options.nodes), options)
    without = train(graph | normalized(edges[:, :0], options.nodes), options)
    print(f"{with_edges:.1%} of the nodes without labels are classified right; without the edges {without:.1%}")
    return {"with edges": with_edges, "without": without}


if __name__ == "__main__":
    main()
