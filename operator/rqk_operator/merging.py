"""Merging manifests the way Kubernetes reads them: objects key by key, lists of named things by their names. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The fields by which members of a list are told apart; in this order, the first one that all of them have.
_IDENTITIES = ("name", "mountPath", "containerPort", "key")
# Of these an object has one at most: the upper one's takes the place of the lower one's.
_ONE_OF = (
    frozenset({"value", "valueFrom"}),
    frozenset({"emptyDir", "configMap", "secret", "persistentVolumeClaim", "hostPath", "projected", "downwardAPI"})
    | {"ephemeral", "csi", "nfs", "image", "iscsi"},
)


def merged(under: Any, over: Any) -> Any:
    """``over`` on top of ``under``; neither is changed. Lists without identities are replaced as a whole."""
    if isinstance(under, Mapping) and isinstance(over, Mapping):
        kept = {key: value for key, value in under.items() if key in over or not _ousted(key, over)}
        return {key: merged(kept.get(key), over[key]) if key in over else kept[key] for key in (*kept, *over)}
    if isinstance(under, list) and isinstance(over, list):
        return _lists(under, over)
    return under if over is None else over


def _ousted(key: str, over: Mapping[str, Any]) -> bool:
    return "name" in over and any(key in group and group.intersection(over) for group in _ONE_OF)


def _lists(under: list[Any], over: list[Any]) -> list[Any]:
    identity = _identity([*under, *over])
    if identity is None:
        return over or under
    upper = {item[identity]: item for item in over}
    lower = {item[identity]: item for item in under}
    # Ours first: environment variables may refer to earlier ones only.
    return [merged(lower.get(name), item) for name, item in upper.items()] + [
        item for name, item in lower.items() if name not in upper
    ]


def _identity(items: list[Any]) -> str | None:
    for name in _IDENTITIES:
        if items and all(isinstance(item, Mapping) and name in item for item in items):
            return name
    return None
