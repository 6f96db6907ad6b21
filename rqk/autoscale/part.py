"""What all parts of the RQWorkerPool resource share: camelCase names on the wire, no unknown fields, no change after reading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel


class Part(BaseModel):
    """A frozen piece of the resource. Python reads ``min_replicas``, manifests say ``minReplicas``.

    Strict: ``"3"`` is not 3, since the API server would refuse it too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, alias_generator=to_camel, populate_by_name=True)


def rules(*checks: tuple[str, str]) -> ConfigDict:
    """CEL rules (expression, message) which the CRD carries for this part; the model repeats them in a validator."""
    found: list[JsonValue] = [{"rule": rule, "message": message} for rule, message in checks]
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": found})


def listed(kind: str, *keys: str) -> dict[str, Any]:
    """How the API server merges a list: ``set``, ``atomic``, or ``map`` by the given keys."""
    return {"x-kubernetes-list-type": kind, **({"x-kubernetes-list-map-keys": list(keys)} if keys else {})}


# Objects of Kubernetes' own, taken as they are: the server checks them when the Deployment is made. Spelling out a
# PodTemplateSpec would make the CRD larger than client-side `kubectl apply` can carry.
KubeObject = Annotated[
    dict[str, Any],
    Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True, "additionalProperties": None}),
]
LabelValue = Annotated[str, Field(max_length=63)]
Labels = Annotated[dict[str, LabelValue], Field(max_length=64)]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
# Memory as Kubernetes writes it; the worker's --job-memory-limit takes the same text.
Quantity = Annotated[str, Field(max_length=20, pattern=r"^[1-9][0-9]*(\.[0-9]+)?(k|M|G|T|Ki|Mi|Gi|Ti)?$")]


def one_of(part: BaseModel, names: Mapping[str, str], *, what: str) -> None:
    """Raise ValueError unless exactly one of these attributes (python name -> name in the manifest) is set."""
    given = [shown for name, shown in names.items() if getattr(part, name) is not None]
    if len(given) != 1:
        wanted = ", ".join(names.values())
        raise ValueError(f"{what} needs exactly one of {wanted}; it has {' and '.join(given) if given else 'none'}")


def sole(*names: str) -> str:
    """The CEL expression for :func:`one_of`."""
    return f"[{', '.join(f'has(self.{name})' for name in names)}].filter(given, given).size() == 1"
