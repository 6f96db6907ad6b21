"""Manifests to pools, with errors that name the file, the document, the field, and what would be right."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rqk.autoscale.model import API_GROUP, API_VERSION, KIND, Pool
from rqk.errors import BadPool

WANTED = f"{API_GROUP}/{API_VERSION} {KIND}"


class _Loader(yaml.SafeLoader):
    """YAML in which a key may stand only once, as kubectl has it; PyYAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key_node.tag != "tag:yaml.org,2002:merge" and isinstance(key, Hashable):
                if key in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)


def load_pools(text: str, source: str) -> list[Pool]:
    """All pools of a manifest, in order.

    ``text`` may hold several YAML documents; empty ones are skipped. ``source`` is the file's name for messages.
    Raises BadPool if it is not YAML, holds no pool or something else than pools, a pool twice, or breaks the schema.
    """
    pools: list[Pool] = []
    for number, document in _documents(text, source):
        where = f"{source}, document {number}"
        if not isinstance(document, Mapping):
            raise BadPool(f"{where}: a {WANTED} is a mapping with apiVersion, kind, metadata and spec; this is not one")
        kind = f"{document.get('apiVersion', '(no apiVersion)')} {document.get('kind', '(no kind)')}"
        if kind != WANTED:
            raise BadPool(f"{where}: this is a {kind}; only {WANTED} documents can be read here")
        pool = parse_pool(document, where)
        if any(other.key == pool.key for other in pools):
            raise BadPool(f"{where}: a pool named {pool.key!r} stands in this file already; give each its own name")
        pools.append(pool)
    if not pools:
        raise BadPool(f"{source}: there is no pool in it; a pool starts with apiVersion: {API_GROUP}/{API_VERSION}")
    return pools


def parse_pool(manifest: Mapping[str, Any], source: str = "pool", *, strict: bool = True) -> Pool:
    """One pool from a decoded document.

    With ``strict`` off, unknown fields are passed over: a server with a newer CRD may send some.
    Raises BadPool with a line for each thing that is wrong.
    """
    # By way of JSON, as kubectl does: dates and numbers then are what the API server would see.
    text = json.dumps(manifest, default=str)
    try:
        return Pool.model_validate_json(text)
    except ValidationError as error:
        body = json.loads(text)
        problems = error.errors(include_url=False, include_input=True)
        if not strict and _without_unknown(body, problems):
            return parse_pool(body, source, strict=False)
        named = body.get("metadata")
        name = named.get("name") if isinstance(named, dict) else None
        where = f"{source} (pool {name!r})" if isinstance(name, str) and name else source
        lines = [f"{where}: {_sentence(problem)}" for problem in problems if not _follows(problem, problems)]
        raise BadPool("\n".join(lines)) from error


def check_for_cluster(pool: Pool, source: str = "pool") -> None:
    """Raise BadPool if the pool lacks what only Kubernetes needs; the CRD asks for the same."""
    if pool.spec.redis is None:
        raise BadPool(f"{source} (pool {pool.name!r}): spec.redis: required; exactly one of url, urlFrom, sentinel")


def check_for_local(pool: Pool, source: str = "pool", *, has_redis: bool = False) -> None:
    """Raise BadPool if the pool needs a cluster: Secrets cannot be read from here. ``has_redis``: another one stands in."""
    where = f"{source} (pool {pool.name!r})"
    redis = pool.spec.redis
    if redis is not None and redis.url is None and not has_redis:
        field = "urlFrom" if redis.url_from is not None else "sentinel"
        raise BadPool(f"{where}: spec.redis.{field}: works on Kubernetes only; here use --url URL or --embedded")
    for index, variable in enumerate(pool.spec.worker.env):
        if variable.value_from is not None:
            raise BadPool(f"{where}: spec.worker.env[{index}].valueFrom: works on Kubernetes only; give a value here")
    if pool.spec.worker.env_from:
        raise BadPool(f"{where}: spec.worker.envFrom: works on Kubernetes only; set the variables in the shell here")


def _documents(text: str, source: str) -> Iterator[tuple[int, Any]]:
    try:
        for number, document in enumerate(yaml.load_all(text, Loader=_Loader), start=1):
            if document is not None:
                yield number, document
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise BadPool(f"{source}{line}: not YAML: {getattr(error, 'problem', None) or error}") from error


def _without_unknown(body: Any, problems: list[ErrorDetails]) -> bool:
    """Take the unknown fields out of the body, in place; False if something else is wrong too."""
    if any(problem["type"] != "extra_forbidden" for problem in problems):
        return False
    for problem in problems:
        *parents, last = problem["loc"]
        place = body
        for step in parents:
            place = place[step]
        del place[last]
    return True


def _follows(problem: ErrorDetails, problems: list[ErrorDetails]) -> bool:
    """A list is only too short because its bad items, which are told, were left out."""
    place = problem["loc"]
    inside = (other["loc"] for other in problems if len(other["loc"]) > len(place))
    return problem["type"] == "too_short" and any(other[: len(place)] == place for other in inside)


def _sentence(problem: ErrorDetails) -> str:
    path = _path(problem["loc"])
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        known = _known_fields(problem["loc"][:-1])
        near = get_close_matches(str(problem["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
        return f"{path}: there is no such field; {hint}"
    if kind == "missing":
        return f"{path}: required, but missing"
    if kind == "value_error":
        return f"{path}: {context['error']}"
    if kind == "too_short":
        return f"{path}: needs at least {context['min_length']}, has {context['actual_length']}"
    if kind == "string_pattern_mismatch":
        return f"{path}: {problem['input']!r} does not match {context['pattern']}"
    message = problem["msg"][:1].lower() + problem["msg"][1:]
    given = problem["input"]
    shown = "" if isinstance(given, (dict, list)) else f"; it is {given!r}"
    return f"{path}: {message}{shown}"


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path.lstrip(".") or "the document"


def _known_fields(location: tuple[int | str, ...]) -> list[str]:
    """The field names that the model at this place has, as a manifest writes them."""
    part: type[BaseModel] = Pool
    for step in location:
        for name, field in part.model_fields.items():
            if step in (name, field.alias):
                found = _model_in(field.annotation)
                if found is not None:
                    part = found
                break
    return sorted(field.alias or name for name, field in part.model_fields.items())


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model within ``X``, ``X | None`` or ``tuple[X, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((found for found in inner if found is not None), None)
