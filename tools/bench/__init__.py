"""`gradloom bench`: the time of a training step against other frameworks."""

from .figures import PEERS
from .harness import Settings, Sides, bench
from .workloads import WORKLOADS

__all__ = ["PEERS", "WORKLOADS", "Settings", "Sides", "bench"]
