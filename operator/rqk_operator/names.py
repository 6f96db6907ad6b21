"""Names that the operator puts on things. Changing one changes what exists in clusters."""

from __future__ import annotations

from rqk.autoscale.model import API_GROUP, API_VERSION

POOLS_API = f"{API_GROUP}/{API_VERSION}"
POOLS = "rqworkerpools"

POOL_LABEL = f"{API_GROUP}/pool"  # on everything made for a pool; its value is the pool's name
MANIFEST_NOTE = f"{API_GROUP}/manifest"  # hash of the manifest that was applied
REDIS_NOTE = f"{API_GROUP}/redis"  # on pods; changes when what was read from Secrets changes, so that workers follow
COST_NOTE = "controller.kubernetes.io/pod-deletion-cost"

OPERATOR = "rqk-operator"  # field manager of everything but...
AUTOSCALER = "rqk-autoscaler"  # ...the number of replicas

CONTAINER = "worker"
