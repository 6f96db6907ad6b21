"""Apply the pools of the release, each from its ConfigMap: what the chart's Job runs after install and upgrade.

usage: apply_pools.py --timeout SECONDS NAMESPACE/CONFIGMAP...

The ConfigMap becomes the pool's owner, so that Kubernetes deletes the pool when Helm deletes the ConfigMap.
Exit codes: 0 all applied; 1 the API server refused one (what it says is in the log), or did not know the kind in time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import urllib3
from kubernetes import client, config

GROUP, VERSION, PLURAL = "rqk.dev", "v1beta1", "rqworkerpools"
MANAGER = "helm"
PAUSE_S = 1.0


def owned(pool: dict[str, Any], source: Any) -> dict[str, Any]:
    """The pool with the ConfigMap ``source`` as its owner."""
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": source.metadata.name, "uid": source.metadata.uid}
    return {**pool, "metadata": {**pool["metadata"], "ownerReferences": [reference]}}


def apply(pool: dict[str, Any], timeout: float) -> None:
    """Server-side apply; waits until the API server knows the kind. Raises ApiException for what it refuses."""
    end = time.monotonic() + timeout
    where = (GROUP, VERSION, pool["metadata"]["namespace"], PLURAL, pool["metadata"]["name"])
    while True:
        try:
            client.CustomObjectsApi().patch_namespaced_custom_object(
                *where, pool, field_manager=MANAGER, force=True, _content_type="application/apply-patch+yaml"
            )
            return
        except client.ApiException as error:
            # 404: the definition was made a moment ago. 403: so were the roles of this Job. 429 and 5xx: a busy server.
            later = error.status in (403, 404, 429) or error.status >= 500
            if not later or time.monotonic() > end:
                raise
        time.sleep(PAUSE_S)


def complaint(error: client.ApiException) -> str:
    """The sentence in the API server's answer."""
    try:
        return str(json.loads(str(error.body))["message"])
    except (KeyError, TypeError, ValueError):
        return f"{error.status} {error.reason}"


def main() -> int:
    """Apply all of them, whatever becomes of one; returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--timeout", type=float, default=120)
    parser.add_argument("maps", nargs="+")
    words = parser.parse_args()
    config.load_incluster_config()  # type: ignore[no-untyped-call]
    refused = 0
    for one in words.maps:
        namespace, _, name = one.partition("/")
        try:
            source: Any = client.CoreV1Api().read_namespaced_config_map(name, namespace)
            pool = json.loads(source.data["pool.json"])
            apply(owned(pool, source), words.timeout)
            print(f"pool {namespace}/{pool['metadata']['name']} applied", flush=True)
        except client.ApiException as error:
            print(f"pool of {one}: {complaint(error)}", file=sys.stderr, flush=True)
            refused += 1
        except urllib3.exceptions.HTTPError as error:
            print(f"the API server does not answer: {error}", file=sys.stderr, flush=True)
            return 1
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
