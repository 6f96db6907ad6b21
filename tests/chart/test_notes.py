"""What `helm install` tells to do next can be done."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from rqk.autoscale.manifest import check_for_cluster, parse_pool
from tests.chart.helm import CHART, Helm, one


@pytest.fixture
def with_notes(tmp_path: Path) -> Path:
    """The chart with what is told after an installation in an object, since `helm template` leaves it out."""
    copy = tmp_path / "rqk"
    shutil.copytree(CHART, copy)
    (copy / "templates" / "NOTES.txt").rename(copy / "NOTES.txt")
    head = "apiVersion: v1\nkind: Secret\nmetadata: {name: notes}\nstringData:\n"
    (copy / "templates" / "notes.yaml").write_text(
        f'{head}  notes: {{{{ tpl (.Files.Get "NOTES.txt") . | toJson }}}}\n'
    )
    return copy


@pytest.mark.parametrize(
    ("values", "namespace", "redis"),
    [
        pytest.param({}, "rqk-system", {"url": "redis://redis:6379/0"}, id="a Redis of one's own"),
        pytest.param(
            {"redis": {"enabled": True}, "namespaces": ["shop"]},
            "shop",
            {"url": "redis://rqk-redis.rqk-system:6379/0"},
            id="the development Valkey",
        ),
        pytest.param(
            {"redis": {"enabled": True, "password": "s3cret"}},
            "rqk-system",
            {"urlFrom": {"secretKeyRef": {"name": "rqk-redis", "key": "url"}}},
            id="with a password",
        ),
        pytest.param(
            {"redis": {"enabled": True, "password": "s3cret"}, "namespaces": ["shop"]},
            "shop",
            {"url": "redis://:PASSWORD@rqk-redis.rqk-system:6379/0"},
            id="with a password, in another namespace",
        ),
    ],
)
def test_the_pool_that_the_notes_propose_is_valid_and_finds_its_redis(
    helm: Helm, with_notes: Path, values: dict[str, Any], namespace: str, redis: dict[str, Any]
) -> None:
    notes = one(helm.template(values, chart=with_notes), "Secret", "notes")["stringData"]["notes"]
    manifest = yaml.safe_load(textwrap.dedent(notes.partition("<<END\n")[2].partition("     END\n")[0]))
    check_for_cluster(parse_pool(manifest))
    assert (manifest["metadata"]["namespace"], manifest["spec"]["redis"]) == (namespace, redis)
    assert f"kubectl rqk explain {manifest['metadata']['name']} -n {namespace} " in notes
