"""The parameters and buffers of a run's best epoch, in a file beside its checkpoint."""

from __future__ import annotations

from pathlib import Path

from ...ir import Array
from ..saving.checkpoint_file import CheckpointError, arrays_and_metadata
from ..step.step import Step

_EPOCH = "epoch"


def place_of_best(checkpoint: str) -> Path:
    """`run.best.safetensors` beside `run.safetensors`."""
    path = Path(checkpoint)
    return path.with_name(f"{path.stem}.best{path.suffix}")


def keep_best(step: Step, checkpoint: str, epoch: int) -> None:
    """Write those of now, which `epoch` gave. Raises `CheckpointError`."""
    step.save(place_of_best(checkpoint), {_EPOCH: str(epoch)}, weights_only=True)


def kept_best(checkpoint: str, epoch: int) -> dict[str, Array] | None:
    """Those of `epoch`; `None` where they do not stand there."""
    try:
        arrays, metadata = arrays_and_metadata(place_of_best(checkpoint))
    except CheckpointError:
        return None
    return arrays if metadata.get(_EPOCH) == str(epoch) else None
