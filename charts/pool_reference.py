"""docs/pools.md: every field of an RQWorkerPool, from the CustomResourceDefinition."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rqk.autoscale.crd import render_crd

Schema = dict[str, Any]

_HEAD = """\
<!-- Made by charts/generate.py from the model in rqk/autoscale/model.py; change that instead. -->
# The RQWorkerPool resource

`apiVersion: rqk.dev/v1beta1`, `kind: RQWorkerPool`, short name `rqwp`. `kubectl explain rqwp.spec` prints the same.
How the number of workers comes about is in [scaling.md](scaling.md); settings by example in [tuning.md](tuning.md); whole pools in `examples/pools/`.
`rqk up -f pool.yaml` runs the same file as local processes.

The API server refuses what breaks a rule, and drops fields that it does not know with a warning; `kubectl apply --dry-run=server` and `rqk up` name the field.
"""
_TYPES = {"integer": "number", "boolean": "yes or no", "string": "text", "object": "object", "array": "list"}


def pool_reference() -> str:
    """The page, the same bytes each time."""
    (version,) = render_crd()["spec"]["versions"]
    root = version["schema"]["openAPIV3Schema"]["properties"]
    lines = [_HEAD]
    for part, title in (("spec", "What you write"), ("status", "What the operator reports")):
        lines += [f"## `{part}`: {title[:1].lower()}{title[1:]}", ""]
        lines += [*_tables(part, root[part])]
    return "\n".join(lines).rstrip() + "\n"


def _tables(path: str, schema: Schema) -> Iterator[str]:
    """A table for this object, then one for each object in it."""
    required = schema.get("required", ())
    yield from ("| field | type | default | |", "|---|---|---|---|")
    inner: list[tuple[str, Schema]] = []
    for name, child in schema["properties"].items():
        below = child.get("items", child)
        deeper = f"{path}.{name}" + ("[]" if "items" in child else "")
        if below.get("properties"):
            inner.append((deeper, below))
        need = "**required**" if name in required else _default(child)
        yield f"| `{name}` | {_type(child)} | {need} | {_told(child)} |"
    yield ""
    for rule in schema.get("x-kubernetes-validations", ()):
        yield f"Rule: {rule['message']}."
        yield ""
    for deeper, below in inner:
        yield f"### `{deeper}`"
        yield ""
        yield from _tables(deeper, below)


def _type(schema: Schema) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "number or percentage"
    if "enum" in schema:
        return " or ".join(f"`{choice}`" for choice in schema["enum"])
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return "object of Kubernetes"
    kind = str(_TYPES[schema["type"]])
    if schema["type"] == "array":
        return f"list of {_plural(_type(schema['items']))}"
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        return f"{kind}, {least} to {most}"
    return f"{kind}, at least {least}" if least is not None else kind


def _plural(kind: str) -> str:
    return {"object": "objects", "text": "texts", "object of Kubernetes": "objects of Kubernetes"}.get(kind, kind)


def _default(schema: Schema) -> str:
    default = schema.get("default")
    return "" if default in (None, {}, []) else f"`{json.dumps(default)}`"


def _told(schema: Schema) -> str:
    return str(schema.get("description", "")).replace("\n", " ").replace("|", "\\|")
