"""Who else has a say in an object of ours: told from what server-side apply refused, and from the object itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rqk_operator.errors import Conflict


def declared(live: Mapping[str, Any], conflicts: Iterable[Conflict]) -> list[Conflict]:
    """Fields that another tool declares as its own. What was merely edited by hand is not declared, and is set back."""
    managed = live["metadata"].get("managedFields") or ()
    appliers = {it["manager"] for it in managed if it.get("operation") == "Apply"}
    return [conflict for conflict in conflicts if conflict.manager in appliers]


def listed(conflicts: Iterable[Conflict]) -> str:
    """In words: ``helm holds .spec.a, .spec.b; kubectl holds .spec.c``."""
    by_manager: dict[str, list[str]] = {}
    for conflict in conflicts:
        by_manager.setdefault(conflict.manager, []).append(conflict.field)
    return "; ".join(f"{manager} holds {', '.join(fields)}" for manager, fields in sorted(by_manager.items()))
