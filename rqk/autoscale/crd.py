"""The CustomResourceDefinition of RQWorkerPool, made from the model. ``python -m rqk.autoscale.crd`` prints it.

The API server takes a narrower JSON schema than pydantic writes: no references, no null types, no
``additionalProperties: false`` beside properties (unknown fields are refused or pruned by the server itself).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import yaml

from rqk.autoscale.model import API_GROUP, API_VERSION, KIND, Pool

PLURAL = "rqworkerpools"
SHORT_NAME = "rqwp"

Schema = dict[str, Any]

# What describes the Python side only.
_DROPPED = ("title", "$defs", "x-rqk-required-in-cluster")
# A pool's name becomes a label's value on its pods.
_NAME = {"type": "string", "maxLength": 63}


def render_crd() -> dict[str, Any]:
    """The definition, ready for ``kubectl apply``."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{API_GROUP}", "labels": {"app.kubernetes.io/name": "rqk"}},
        "spec": {
            "group": API_GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": [SHORT_NAME],
                "categories": ["all", "rqk"],
            },
            "versions": [
                {
                    "name": API_VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": _root()},
                    "subresources": {
                        "status": {},
                        # spec.replicas is the number set by hand: absent until `kubectl scale` writes it.
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": _columns(),
                }
            ],
        },
    }


def render_yaml() -> str:
    """The definition as text, the same bytes each time."""
    head = f"# Made by `python -m {__spec__.name if __spec__ else __name__}`; change the model instead.\n"
    return head + yaml.safe_dump(render_crd(), sort_keys=False, width=120)


def _root() -> Schema:
    model = Pool.model_json_schema(by_alias=True)
    kinds = model["$defs"]
    properties = model["properties"]
    return {
        "type": "object",
        "description": (Pool.__doc__ or "").strip(),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": _NAME}},
            "spec": _structural(properties["spec"], kinds),
            "status": _structural(properties["status"], kinds),
        },
    }


def _structural(schema: Mapping[str, Any], kinds: Mapping[str, Schema]) -> Schema:
    """One schema of pydantic's as the structural schema that Kubernetes asks for."""
    flat = _flatten(schema, kinds)
    if flat.get("x-kubernetes-int-or-string"):
        return _int_or_string(flat)
    if flat.get("default", 0) in (None, [], {}):
        del flat["default"]
    if "const" in flat:
        flat["enum"] = [flat.pop("const")]
    if "items" in flat:
        flat["items"] = _structural(flat["items"], kinds)
    extra = flat.pop("additionalProperties", None)
    if isinstance(extra, dict):
        flat["additionalProperties"] = _structural(extra, kinds)
    if "properties" in flat:
        _fill(flat, kinds)
    return flat


def _flatten(schema: Mapping[str, Any], kinds: Mapping[str, Schema]) -> Schema:
    """References followed, ``X or null`` made X; what stands beside them (description, default) wins."""
    own = {key: value for key, value in schema.items() if key not in (*_DROPPED, "$ref", "anyOf", "allOf")}
    inner: Schema = {}
    if "$ref" in schema:
        inner = _flatten(kinds[schema["$ref"].rpartition("/")[2]], kinds)
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if schema.get("x-kubernetes-int-or-string"):
        own["anyOf"] = choices
    elif choices:
        (only,) = choices  # a real union has no structural schema; the model must not hold one
        inner = _flatten(only, kinds)
    return {**inner, **own}


def _fill(flat: Schema, kinds: Mapping[str, Schema]) -> None:
    """The properties of an object, with defaults for those that are made by default."""
    required = list(flat.get("required", ()))
    for name, child in flat["properties"].items():
        if child.get("x-rqk-required-in-cluster"):
            required.append(name)
        inner = _structural(child, kinds)
        # Defaults within an object apply only if the object is there: an empty one brings them in.
        if name not in required and "default" not in child and "properties" in inner:
            inner["default"] = {}
        flat["properties"] = {**flat["properties"], name: inner}
    if required:
        flat["required"] = required


def _int_or_string(flat: Schema) -> Schema:
    """The one union there is; limits stand beside it, since each applies to its own type only."""
    choices = flat.pop("anyOf")
    limits = {key: value for choice in choices for key, value in choice.items() if key not in ("type", *_DROPPED)}
    return {**flat, **limits, "anyOf": [{"type": "integer"}, {"type": "string"}]}


def _columns() -> list[dict[str, Any]]:
    def column(name: str, path: str, kind: str = "integer", *, wide: bool = False) -> dict[str, Any]:
        return {"name": name, "type": kind, "jsonPath": path, **({"priority": 1} if wide else {})}

    return [
        column("Queues", ".spec.queues", "string"),
        column("Depth", ".status.depth"),
        column("Wait", ".status.oldestWaitSeconds"),
        column("Busy", ".status.busyWorkers"),
        column("Ready", ".status.readyReplicas"),
        column("Desired", ".status.desiredReplicas"),
        column("Reason", ".status.lastDecision.reason", "string"),
        column("Age", ".metadata.creationTimestamp", "date"),
        column("Min", ".spec.scaling.minReplicas", wide=True),
        column("Max", ".spec.scaling.maxReplicas", wide=True),
        column("Manual", ".spec.replicas", wide=True),
        column("Redis", '.status.conditions[?(@.type=="RedisReachable")].status', "string", wide=True),
        column("Message", ".status.lastDecision.message", "string", wide=True),
    ]


if __name__ == "__main__":
    sys.stdout.write(render_yaml())
