"""`gradloom bench`: the time of a training step against other frameworks."""

from .figures import GPU_PEERS, PEERS
from .harness import Settings, Sides, bench
from .workloads import WORKLOADS

__all__ = ["GPU_PEERS", "PEERS", "WORKLOADS", "Settings", "Sides", "bench"]
