"""`gradloom bench`: the time of a training step, side by side with other frameworks."""

from .harness import Sides, bench
from .workloads import WORKLOADS

__all__ = ["WORKLOADS", "Sides", "bench"]
