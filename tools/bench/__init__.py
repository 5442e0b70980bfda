"""`gradloom bench`: the time of a training step against other frameworks."""

from .figures import GPU_PEERS, PEERS
from .harness import PINS, Settings, Sides, bench
from .wider import WIDER
from .workloads import WORKLOADS, listed

__all__ = ["GPU_PEERS", "PEERS", "PINS", "WIDER", "WORKLOADS", "Settings", "Sides", "bench", "listed"]
