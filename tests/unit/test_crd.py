"""The CRD says what the model says, in the dialect that the API server takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from rqk.autoscale.crd import render_crd, render_yaml
from rqk.autoscale.manifest import parse_pool

VERSION = render_crd()["spec"]["versions"][0]
ROOT = VERSION["schema"]["openAPIV3Schema"]

# What apiextensions/v1 knows of JSON schema, and Kubernetes' own words.
KNOWN = {
    "type", "format", "description", "default", "enum", "properties", "required", "items", "additionalProperties",
    "minimum", "maximum", "minLength", "maxLength", "pattern", "minItems", "maxItems", "maxProperties", "anyOf",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations", "x-kubernetes-int-or-string",
}  # fmt: skip


def schemas(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """A schema and all within it, by path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from schemas(child, f"{path}.{name}")
    for word in ("items", "additionalProperties"):
        if word in schema:
            yield from schemas(schema[word], f"{path}[]")


def test_the_schema_is_structural() -> None:
    for path, schema in schemas(ROOT):
        assert set(schema) <= KNOWN, path
        if schema.get("x-kubernetes-int-or-string"):
            assert schema["anyOf"] == [{"type": "integer"}, {"type": "string"}], path
            assert "type" not in schema, path
        else:
            assert schema["type"] in {"object", "array", "string", "integer", "boolean"}, path
            assert "anyOf" not in schema, path
        assert not {"properties", "additionalProperties"} <= set(schema), path


def test_every_list_says_how_it_is_merged_and_every_list_and_text_of_the_spec_is_bounded() -> None:
    for path, schema in schemas(ROOT["properties"]["spec"]):
        if schema.get("type") == "array":
            assert "maxItems" in schema, path
            assert "x-kubernetes-list-type" in schema, path
        # CEL's cost estimate needs a bound on every text that a rule could reach.
        if schema.get("type") == "string" and "enum" not in schema:
            assert "maxLength" in schema, path


def test_every_field_is_explained() -> None:
    for path, schema in schemas(ROOT["properties"]["spec"]):
        if not path.endswith("[]"):
            assert schema.get("description"), path


def test_the_rules_are_there() -> None:
    def rules_of(*path: str) -> list[str]:
        schema = ROOT["properties"]["spec"]
        for step in path:
            schema = schema["properties"][step]
        return [rule["rule"] for rule in schema["x-kubernetes-validations"]]

    assert "self.minReplicas <= self.maxReplicas" in rules_of("scaling")
    assert "has(self.targetDepthPerWorker) || has(self.targetWaitSeconds)" in rules_of("scaling")
    assert any("has(self.urlFrom)" in rule for rule in rules_of("redis"))
    spec = ROOT["properties"]["spec"]
    assert spec["properties"]["queues"]["x-kubernetes-list-type"] == "set"
    assert set(spec["required"]) == {"queues", "redis", "scaling"}


def test_the_defaults_of_the_crd_are_those_of_the_model() -> None:
    def filled(schema: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
        """What the API server does with defaults."""
        result = dict(value)
        for name, child in schema.get("properties", {}).items():
            if name not in result and "default" in child:
                result[name] = child["default"]
            if isinstance(result.get(name), dict) and "properties" in child:
                result[name] = filled(child, result[name])
        return result

    spec = {"queues": ["default"], "redis": {"url": "redis://x"}, "scaling": {"targetDepthPerWorker": 1}}
    stored = filled(ROOT["properties"]["spec"], spec)
    body = {"apiVersion": "rqk.dev/v1beta1", "kind": "RQWorkerPool", "metadata": {"name": "x"}}
    assert stored["scaling"]["scaleDown"] == {"stabilizationSeconds": 60, "toZeroAfterSeconds": 120}
    assert parse_pool({**body, "spec": stored}).spec == parse_pool({**body, "spec": spec}).spec


def test_the_scale_subresource_writes_the_number_set_by_hand() -> None:
    assert VERSION["subresources"]["scale"]["specReplicasPath"] == ".spec.replicas"
    assert "default" not in ROOT["properties"]["spec"]["properties"]["replicas"]


def test_every_column_points_at_a_field_that_exists() -> None:
    for column in VERSION["additionalPrinterColumns"]:
        first, *steps = column["jsonPath"].lstrip(".").split("[")[0].split(".")
        if first == "metadata":
            continue
        schema = ROOT["properties"][first]
        for step in steps:
            schema = schema["properties"][step]


def test_it_stays_small_enough_for_client_side_apply() -> None:
    assert len(render_yaml()) < 60_000
    assert yaml.safe_load(render_yaml()) == render_crd()
