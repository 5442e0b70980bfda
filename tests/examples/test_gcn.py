"""The graph network learns from its edges, and trains as torch's."""

from functools import partial

import gradloom as gl
import numpy as np
import pytest
from gradloom.examples import gcn
from trained_against_torch import assert_trains_like_torch

RNG = np.random.default_rng(0)


def test_it_runs_and_the_edges_help():
    figures = gcn.main(["--steps", "100", "--nodes", "300"])
    assert figures["with edges"] > figures["without"] + 0.1 > 0.35


def test_the_weights_of_a_layer_are_those_of_the_normalized_adjacency():
    """D^-1/2 (A + I) D^-1/2, as the paper's equation 2 has it."""
    adjacency = np.array([[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]) + np.eye(4)
    root = np.diag(adjacency.sum(axis=1) ** -0.5)
    graph = gcn.normalized(np.array([[0, 2], [1, 0]]), 4)
    found = np.zeros((4, 4))
    np.add.at(found, tuple(graph["edges"]), graph["weights"])
    np.testing.assert_allclose(found, root @ adjacency @ root, rtol=1e-6)


@pytest.mark.peers
@pytest.mark.usefixtures("one_thread_for_torch")
def test_it_trains_as_torchs():
    torch = pytest.importorskip("torch")

    class GraphConvolution(torch.nn.Module):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.lin = torch.nn.Linear(inputs, outputs, bias=False)
            self.bias = torch.nn.Parameter(torch.zeros(outputs))

        def forward(self, x, edges, weights):
            messages = self.lin(x)[edges[0]] * weights[:, None]
            return torch.zeros(len(x), messages.shape[1]).to(x).index_add(0, edges[1], messages) + self.bias

    class GCN(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = GraphConvolution(gcn.FEATURES, 16), GraphConvolution(16, gcn.CLASSES)

        def forward(self, graph):
            x = torch.relu(self.conv1(graph["x"], graph["edges"], graph["weights"]))
            return self.conv2(x, graph["edges"], graph["weights"])

    def loss_fn(model, graph):
        known = graph["labelled"]
        return torch.nn.functional.cross_entropy(model(graph)[known], graph["y"][known])

    graph, edges = gcn.communities(60, 3, RNG)
    graph |= gcn.normalized(edges, 60)
    graph |= {name: graph[name].astype(np.float64) for name in ("x", "weights")}
    optimizer = gl.optim.Adam(1e-2, weight_decay=5e-4)
    make = partial(torch.optim.Adam, lr=1e-2, weight_decay=5e-4)
    assert_trains_like_torch(gcn.GCN(dropout=0.0), GCN(), gcn.loss_fn, loss_fn, [graph] * 5, optimizer, make)
