"""Merging manifests the way Kubernetes reads them: objects key by key, lists of named things by their names. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rqk.errors import BadPool

# What tells the members of a list apart, by the name of the list, as Kubernetes has it; of all others it is the name.
_KEYS = {
    "volumeMounts": ("mountPath",),  # one volume may be mounted at several places
    "volumeDevices": ("devicePath",),
    "ports": ("containerPort", "protocol"),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
_DEFAULTS = {"protocol": "TCP"}
# Of these an object has one at most: the upper one's takes the place of the lower one's.
_VALUES = frozenset({"value", "valueFrom"})
_VOLUMES = frozenset(
    {"emptyDir", "configMap", "secret", "persistentVolumeClaim", "hostPath", "projected", "downwardAPI"}
    | {"ephemeral", "csi", "nfs", "image", "iscsi"}
)
_HANDLERS = frozenset({"httpGet", "exec", "tcpSocket", "grpc"})  # of probes and lifecycle hooks
_NAMED = {key: group for group in (_VALUES, _VOLUMES) for key in group}  # of objects in lists, which have names
_RIVALS = dict.fromkeys(_HANDLERS, _HANDLERS)


def merged(under: Any, over: Any, field: str = "") -> Any:
    """``over`` on top of ``under``; neither is changed. Lists whose members cannot be told apart are replaced as a whole.

    ``field`` is the name that a list has in its object. Raises BadPool for members with an object or a list for a name.
    """
    if isinstance(under, dict) and isinstance(over, dict):
        kept = {key: value for key, value in under.items() if key in over or not _ousted(key, over)}
        return {key: merged(kept.get(key), over[key], key) if key in over else kept[key] for key in (*kept, *over)}
    if isinstance(under, list) and isinstance(over, list):
        return _lists(under, over, field)
    return under if over is None else over


def _ousted(key: str, over: Mapping[str, Any]) -> bool:
    rivals = _RIVALS.get(key) or (_NAMED.get(key) if "name" in over else None)
    return rivals is not None and not rivals.isdisjoint(over)


def _lists(under: list[Any], over: list[Any], field: str) -> list[Any]:
    keys = _KEYS.get(field, ("name",))
    if not all(isinstance(item, dict) and keys[0] in item for item in (*under, *over)):
        return over or under
    upper = {_identity(item, keys, field): item for item in over}
    lower = {_identity(item, keys, field): item for item in under}
    # Ours first: environment variables may refer to earlier ones only.
    return [merged(lower.get(which), item) for which, item in upper.items()] + [
        item for which, item in lower.items() if which not in upper
    ]


def _identity(item: Mapping[str, Any], keys: tuple[str, ...], field: str) -> tuple[object, ...]:
    found = tuple([item.get(key, _DEFAULTS.get(key)) for key in keys])
    for key, value in zip(keys, found, strict=True):
        if isinstance(value, (dict, list)):
            raise BadPool(f"spec.template: {field}: {key} must be text or a number, not {value}")
    return found
