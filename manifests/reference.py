"""docs/pools.md: every field of an RQWorkerPool, from the CustomResourceDefinition itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rqk.autoscale.crd import render_crd

Schema = Mapping[str, Any]

_HEAD = """\
# RQWorkerPool: the reference

<!-- made by python manifests/generate.py from rqk/autoscale/model.py; change that instead -->

`rqk.dev/v1beta1`, namespaced, short name `rqwp`, also in `kubectl get all`. The same manifest runs on one machine with `rqk up -f`.
[operator.md](operator.md) says what the operator does with it, [scaling.md](scaling.md) how it gets its size; examples are in [examples/pools](../examples/pools).
`kubectl explain rqwp.spec.scaling` prints the same descriptions.

A field that is left out has the default shown, which the API server writes into the stored pool. Unknown fields are refused by `kubectl apply`.
"""


def page() -> str:
    """The whole page."""
    root = render_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    parts = [_HEAD]
    for name, words in (("spec", "What is wished."), ("status", "What the operator last saw and did.")):
        parts.append(f"## {name}\n\n{words}\n")
        parts += list(_tables(root[name], name))
    return "\n".join(parts)


def _tables(schema: Schema, path: str) -> Iterator[str]:
    """A table of an object's fields, and then of the objects within it."""
    properties: Schema = schema.get("properties", {})
    required = set(schema.get("required", ()))
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for name, child in properties.items():
        default = "required" if name in required else _default(child)
        rows.append(
            f"| `{path}.{name}` | {_type(child)} | {default} | {_cell(child.get('description', ''))}{_limits(child)} |"
        )
    yield "\n".join(rows) + "\n"
    for rule in schema.get("x-kubernetes-validations", ()):
        yield f"Rule for `{path}`: {_cell(rule['message'])}.\n"
    for name, child in properties.items():
        inner, suffix = (child["items"], "[]") if child.get("type") == "array" else (child, "")
        if inner.get("properties"):
            yield f"### {path}.{name}{suffix}\n"
            yield from _tables(inner, f"{path}.{name}{suffix}")


def _type(schema: Schema) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if schema.get("additionalProperties"):
        return f"map of {_type(schema['additionalProperties'])}"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return "object of Kubernetes"
    return str(schema.get("type", "object")) + (" (time)" if schema.get("format") == "date-time" else "")


def _default(schema: Schema) -> str:
    value = schema.get("default")
    if value is None or value == {}:
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _limits(schema: Schema) -> str:
    words = []
    for key, text in (
        ("minimum", "at least {}"),
        ("maximum", "at most {}"),
        ("minItems", "at least {} of them"),
        ("pattern", "matches `{}`"),
    ):
        if key in schema:
            words.append(text.format(_cell(str(schema[key]))))
    return f" ({', '.join(words)})" if words else ""


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ").rstrip(".") if text else ""
