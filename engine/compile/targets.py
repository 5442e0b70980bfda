"""Which machine a program is for: what a user gives as `target`."""

from __future__ import annotations

from ...passes.target import Target, TargetError


def target_of(target: str | Target) -> Target:
    """The target that `target` names: "cpu" is this machine's.

    "cpu:avx2" is `Target.cpu("avx2")`. Raises `TargetError` for anything else.
    """
    if isinstance(target, Target):
        return target
    device, _, name = target.partition(":") if isinstance(target, str) else ("", "", "")
    if device == "cpu" and name:
        return Target.cpu(name)
    if target != "cpu":
        raise TargetError(
            f"target {target!r} is not available; write target='cpu' for this machine, or a gl.Target such as "
            "gl.Target.cpu('avx2')"
        )
    return Target.cpu()
