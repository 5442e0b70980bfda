"""Networks over sequences: recurrent ones, and one of dilated convolutions."""

from __future__ import annotations

from typing import Any

from ..frameworks import Framework


def recurrent(f: Framework, kind: str, inputs: int, hidden: int, classes: int = 10, **options: Any) -> Any:
    """Logits (N, classes) by the last output of a recurrent layer, `nn.GRU` or another `kind`, over (T, N, inputs)."""
    nn = f.nn

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = getattr(nn, kind)(inputs, hidden, **options)
            self.head = nn.Linear(hidden * (1 + options.get("bidirectional", False)), classes)

        def forward(self, x: Any) -> Any:
            return self.head(self.layer(x)[0][-1])

    return Recurrent()


def wavenet(f: Framework, levels: int, channels: int, layers: int) -> Any:
    """Logits (N, levels, T) of the samples of sounds (N, 1, T), by gated convolutions whose reach doubles.

    Van den Oord et al. 2016, "WaveNet: a generative model for raw audio", with padding on both sides.
    """
    nn = f.nn

    class Layer(nn.Module):
        def __init__(self, dilation: int) -> None:
            super().__init__()
            self.filter = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
            self.gate = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
            self.mixed, self.skipped = nn.Conv1d(channels, channels, 1), nn.Conv1d(channels, channels, 1)

        def forward(self, x: Any) -> Any:
            h = f.numpy.tanh(self.filter(x)) * f.functional.sigmoid(self.gate(x))
            return x + self.mixed(h), self.skipped(h)

    class WaveNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv1d(1, channels, 1)
            self.layers = nn.ModuleList([Layer(2**i) for i in range(layers)])
            self.last = nn.Conv1d(channels, levels, 1)

        def forward(self, x: Any) -> Any:
            x, total = self.first(x), 0.0
            for layer in self.layers:
                x, skipped = layer(x)
                total = total + skipped
            return self.last(f.functional.relu(total))

    return WaveNet()
