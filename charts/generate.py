"""Make what follows from elsewhere: the chart's schema, its README and its copy of the CRD.

``python -m charts.generate`` writes them, ``--check`` only says (code 1) which are out of date.
The source of schema and README is ``values.yaml`` with its comments; the source of the CRD, and of the schema of
``pools.*.spec``, is the pool's model.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rqk.autoscale.crd import render_yaml
from rqk.autoscale.model import Pool

CHART = Path(__file__).resolve().parent / "rqk"
DESCRIPTION, SCHEMA, SECTION = "# --", "# @schema", "# @section"
Schema = dict[str, Any]

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}

# Kubernetes' own objects are taken as they are where the API server checks them anyway; where a slip is likely and the
# shape is small (resources, tolerations, ...) their keys are named here, so that Helm says what is wrong.
_DEFS: dict[str, Schema] = {
    "strings": {"type": "object", "additionalProperties": {"type": "string"}},
    "name": {"type": "string", "minLength": 1, "maxLength": 253, "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"},
    "port": {"type": "integer", "minimum": 1, "maximum": 65535},
    "duration": {"type": "string", "pattern": "^[1-9][0-9]*(ms|s|m|h)$"},
    "quantity": {"type": ["string", "number"]},
    "localObject": {
        "type": "object",
        "properties": {"name": {"type": "string", "minLength": 1}},
        "required": ["name"],
        "additionalProperties": False,
    },
    "kubeObject": {"type": "object", "additionalProperties": True},
    "named": {
        "type": "object",
        "properties": {"name": {"type": "string", "minLength": 1}},
        "required": ["name"],
        "additionalProperties": True,
    },
    "envVar": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "value": {"type": "string"},
            "valueFrom": {"$ref": "#/$defs/kubeObject"},
        },
        "required": ["name"],
        "additionalProperties": False,
    },
    "resources": {
        "type": "object",
        "properties": {
            "requests": {"type": "object", "additionalProperties": {"$ref": "#/$defs/quantity"}},
            "limits": {"type": "object", "additionalProperties": {"$ref": "#/$defs/quantity"}},
            "claims": {"type": "array", "items": {"$ref": "#/$defs/named"}},
        },
        "additionalProperties": False,
    },
    "toleration": {
        "type": "object",
        "properties": {
            "key": {"type": "string"},
            "operator": {"enum": ["Exists", "Equal", "Lt", "Gt"]},
            "value": {"type": "string"},
            "effect": {"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
            "tolerationSeconds": {"type": "integer"},
        },
        "additionalProperties": False,
    },
    "affinity": {
        "type": "object",
        "properties": {
            kind: {"$ref": "#/$defs/kubeObject"} for kind in ("nodeAffinity", "podAffinity", "podAntiAffinity")
        },
        "additionalProperties": False,
    },
    "spread": {
        "type": "object",
        "properties": {
            "maxSkew": {"type": "integer", "minimum": 1},
            "minDomains": {"type": "integer", "minimum": 1},
            "topologyKey": {"type": "string", "minLength": 1},
            "whenUnsatisfiable": {"enum": ["DoNotSchedule", "ScheduleAnyway"]},
            "labelSelector": {"$ref": "#/$defs/kubeObject"},
            "matchLabelKeys": {"type": "array", "items": {"type": "string"}},
            "nodeAffinityPolicy": {"enum": ["Honor", "Ignore"]},
            "nodeTaintsPolicy": {"enum": ["Honor", "Ignore"]},
        },
        "required": ["maxSkew", "topologyKey", "whenUnsatisfiable"],
        "additionalProperties": False,
    },
    "pool": {
        "type": "object",
        "properties": {
            "namespace": {"$ref": "#/$defs/name", "description": "Default: the release's namespace."},
            "labels": {"$ref": "#/$defs/strings"},
            "annotations": {"$ref": "#/$defs/strings"},
            "spec": {"$ref": "#/$defs/PoolSpec"},
        },
        "required": ["spec"],
        "additionalProperties": False,
    },
}

_AS_IN_A_POD = {"affinity", "nodeSelector", "podSecurityContext", "resources", "securityContext", "tolerations"}


@dataclass(frozen=True)
class Value:
    """One key of values.yaml with what its comments say."""

    path: tuple[str, ...]
    default: Any
    description: str
    schema: Schema
    section: str
    children: tuple[Value, ...]

    @property
    def shown(self) -> bool:
        """Whether README.md has a row for it: leaves, and mappings that are free or have something said of them."""
        return not self.children or bool(self.description)


def read_values(text: str) -> tuple[Value, ...]:
    """The keys of values.yaml, in order. Raises SystemExit with the line where a comment is not understood."""
    lines = text.splitlines()
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode):
        raise SystemExit("values.yaml: a mapping is wanted")
    return tuple(_children(node, lines, ()))


def _children(node: yaml.MappingNode, lines: Sequence[str], path: tuple[str, ...]) -> Iterator[Value]:
    section = ""
    for key, value in node.value:
        at = key.start_mark.line
        description, schema, heading = _comments(lines, at)
        section = heading or section
        here = (*path, str(key.value))
        # A mapping with a schema of its own is a value as a whole, whatever its default holds.
        inner: tuple[Value, ...] = ()
        if isinstance(value, yaml.MappingNode) and "$ref" not in schema:
            inner = tuple(_children(value, lines, here))
        default = yaml.safe_load(yaml.serialize(value))
        yield Value(here, default, description, schema, section, inner)


def _comments(lines: Sequence[str], at: int) -> tuple[str, Schema, str]:
    """Description, schema and section from the comment lines right above line ``at``; a section may stand higher."""
    first = at
    while first > 0 and lines[first - 1].strip().startswith("#"):
        first -= 1
    description: list[str] = []
    schema: list[str] = []
    for line in (text.strip() for text in lines[first:at]):
        if line.startswith(SCHEMA):
            schema.append(line.removeprefix(SCHEMA))
        elif line.startswith(DESCRIPTION):
            description = [line.removeprefix(DESCRIPTION).strip()]
        elif description and not line.startswith(SECTION) and not schema:
            description.append(line.removeprefix("#").strip())
    parsed = yaml.safe_load("".join(schema)) if schema else {}
    if not isinstance(parsed, dict):
        raise SystemExit(f"values.yaml, line {at}: {SCHEMA} needs a mapping such as {{minimum: 1}}")
    return " ".join(description), parsed, _heading(lines, first, at)


def _heading(lines: Sequence[str], first: int, at: int) -> str:
    # The heading stands among the comments of its first key, or in a block of its own above them.
    above = first - 1
    while above >= 0 and not lines[above].strip():
        above -= 1
    block = [*lines[above : above + 1], *lines[first:at]] if above >= 0 else lines[first:at]
    for line in block:
        if line.strip().startswith(SECTION):
            return line.strip().removeprefix(SECTION).strip()
    return ""


def schema_of(values: Sequence[Value]) -> Schema:
    """values.schema.json: no key that is not in values.yaml, but for ``global``, which parents share."""
    root = _object(values)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart rqk",
        "description": "Made by charts/generate.py from values.yaml; change that instead.",
        **root,
        "$defs": {**_DEFS, **_pool_defs()},
    }


def _object(values: Sequence[Value]) -> Schema:
    properties = {value.path[-1]: _property(value) for value in values}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _property(value: Value) -> Schema:
    text = {"description": value.description} if value.description else {}
    if "$ref" in value.schema:  # draft 7 passes over whatever stands beside a $ref
        return {**text, "allOf": [value.schema]}
    if value.children:
        return {**text, **_object(value.children), **value.schema}
    kind: Schema = {} if "enum" in value.schema else {"type": _TYPES[type(value.default)]}
    default = {} if value.default in ({}, [], "") else {"default": value.default}
    return {**text, **kind, **value.schema, **default}


def _pool_defs() -> dict[str, Schema]:
    """The pool's model as definitions, without what belongs to the API server or is not written by people."""
    kinds: dict[str, Schema] = Pool.model_json_schema(by_alias=True)["$defs"]
    wanted: dict[str, Schema] = {}
    ahead = ["PoolSpec"]
    while ahead:
        name = ahead.pop()
        if name not in wanted:
            wanted[name] = _plain(kinds[name])
            ahead += re.findall(r"#/\$defs/(\w+)", json.dumps(wanted[name]))
    return dict(sorted(wanted.items()))


def _plain(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: _plain(part)
        for key, part in schema.items()
        if not key.startswith("x-")
        and key not in ("title", "default")
        and (key, part) != ("additionalProperties", None)
    }
    # `null` is how Helm takes a default away; in a spec it would only hide a mistake.
    choices = [choice for choice in kept.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        kept.pop("anyOf")
        kept = {"description": kept["description"], "allOf": choices} if "description" in kept else choices[0]
    # A field called "title" or "default" would have been dropped with the keywords.
    for name in ("title", "default"):
        if isinstance(schema.get("properties"), dict) and name in schema["properties"]:
            raise SystemExit(f"the pool's model has a field {name!r}; charts/generate.py must learn of it")
    if "$ref" in kept and len(kept) > 1:
        reference = kept.pop("$ref")
        kept["allOf"] = [{"$ref": reference}]
    return kept


def readme_of(values: Sequence[Value]) -> str:
    """README.md: how to install, and a table of all values."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    lines = [_README_HEAD.format(description=chart["description"], kube=chart["kubeVersion"], version=chart["version"])]
    section = ""
    for value in values:
        if value.section != section:
            section = value.section
            lines += [f"\n### {section}\n", "| value | default | |", "|---|---|---|"]
        lines += _rows(value)
    return "\n".join(lines).rstrip() + "\n"


def _rows(value: Value) -> list[str]:
    rows = []
    if value.shown:
        default = "" if value.children else f"`{json.dumps(value.default)}`"
        text = value.description or _said_by(value)
        rows.append(f"| `{'.'.join(value.path)}` | {default} | {text} |".replace("|  |", "| |"))
    for child in value.children:
        rows += _rows(child)
    return rows


def _said_by(value: Value) -> str:
    """What goes without saying, said."""
    if "enum" in value.schema:
        return " or ".join(f"`{choice}`" for choice in value.schema["enum"])
    if value.path[-1] in _AS_IN_A_POD:
        return "As in a Pod."
    return {"#/$defs/duration": "Such as `30s`."}.get(value.schema.get("$ref", ""), "")


_README_HEAD = """\
<!-- Made by charts/generate.py from values.yaml; change that instead. -->
# rqk

{description}

```sh
helm install rqk charts/rqk -n rqk-system --create-namespace
helm test rqk -n rqk-system
kubectl apply -f pool.yaml
kubectl get rqworkerpools
```

Version {version}; Kubernetes `{kube}`. Everything runs under the `restricted` Pod Security Standard.

- [Install, uninstall, two releases](../../docs/install.md), [upgrade](../../docs/upgrade.md), [security and RBAC](../../docs/security.md)
- [Troubleshooting by symptom](../../docs/troubleshooting.md), [migrating](../../docs/migrating.md), [tuning by example](../../docs/tuning.md)

## Values

Every key is checked (`values.schema.json`): one that does not exist is refused by its name."""


def made() -> dict[Path, str]:
    """Every generated file and what it should hold."""
    values = read_values((CHART / "values.yaml").read_text())
    return {
        CHART / "values.schema.json": json.dumps(schema_of(values), indent=2, ensure_ascii=False) + "\n",
        CHART / "README.md": readme_of(values),
        CHART / "files" / "crd.yaml": render_yaml(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Code 0 if all is written or in step, 1 if ``--check`` found something."""
    parser = argparse.ArgumentParser(prog="python -m charts.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; say which files are out of date")
    check = parser.parse_args(argv).check
    stale = {path: text for path, text in made().items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        name = path.relative_to(CHART.parent.parent)
        if check:
            print(f"{name} is out of date; run: python -m charts.generate", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"wrote {name}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
