from __future__ import annotations

from .plan import Plan


def check_plan(plan: Plan) -> None:
    raise NotImplementedError
