"""Which machine a program is for: what a user gives as `target`."""

from __future__ import annotations

from ...passes.target import Target, TargetError


def target_of(target: str | Target) -> Target:
    """The target that `target` names: "cpu" is this machine's.

    Raises `TargetError` for anything else than "cpu" or a `Target`.
    """
    if isinstance(target, Target):
        return target
    if target != "cpu":
        raise TargetError(
            f"target {target!r} is not available; write target='cpu' for this machine, or a gl.Target such as "
            "gl.Target.cpu('avx2')"
        )
    return Target.cpu()
