"""Running means of what steps return."""

from __future__ import annotations

from typing import Any, cast

import optree

from ...ir.printable import printable


class Means:
    """Running means of the loss and of the scalar metrics, by name."""

    def __init__(self, sums: dict[str, float] | None = None, count: int = 0) -> None:
        self.sums = dict(sums or {})
        self.count = count

    def add(self, result: Any) -> float:
        """Count what `step(batch)` returned: the loss, or `(loss, metrics)`. The loss."""
        loss, metrics = result if isinstance(result, tuple) else (result, None)
        loss = float(loss)
        self.count += 1
        sums = self.sums
        sums["loss"] = sums.get("loss", 0.0) + loss
        if metrics is not None:
            for path, leaf in zip(*optree.tree_flatten_with_path(cast(Any, metrics))[:2]):
                if not leaf.shape:
                    name = name_of_metric(path)
                    sums[name] = sums.get(name, 0.0) + float(leaf)
        return loss

    def figures(self) -> dict[str, float]:
        """The means by name."""
        return {name: total / self.count for name, total in self.sums.items()}

    def __str__(self) -> str:
        return in_words(self.figures())


def name_of_metric(path: tuple[Any, ...]) -> str:
    """How the metric at a place of the metrics is called."""
    return printable(".".join(map(str, path))) or "metric"


def in_words(figures: dict[str, float]) -> str:
    """Figures by name in one line."""
    return "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
