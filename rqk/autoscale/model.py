"""The RQWorkerPool resource: one model for `rqk up`, the operator, and the CRD that :mod:`rqk.autoscale.crd` makes of it.

Field descriptions are what ``kubectl explain rqwp.spec`` prints; defaults go into the CRD, so a stored pool shows them.
Reading manifests is :mod:`rqk.autoscale.manifest`, what the operator reports is :mod:`rqk.autoscale.status`.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from rqk.autoscale.part import KubeObject, Labels, ObjectName, Part, Quantity, listed, one_of, rules, sole
from rqk.autoscale.status import PoolStatus

API_GROUP = "rqk.dev"
API_VERSION = "v1beta1"
KIND = "RQWorkerPool"
PAUSED_ANNOTATION = "rqk.dev/paused"

# Control characters cannot be typed on a command line, and worker records separate queues by commas.
QueueName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^,\x00-\x1f\x7f]+$")]
MOST_REPLICAS = 10_000  # of one pool


class SecretKey(Part):
    """One key of a Secret in the pool's namespace."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: str = Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$", description="Key within it.")


class ConfigMapKey(Part):
    """One key of a ConfigMap in the pool's namespace."""

    name: ObjectName = Field(description="Name of the ConfigMap.")
    key: str = Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$", description="Key within it.")


class FromSecret(Part):
    """A text that is kept in a Secret."""

    secret_key_ref: SecretKey = Field(description="Where the text is.")


class FromSecretOrConfigMap(Part):
    """A text that is kept in a Secret or a ConfigMap."""

    model_config = rules((sole("secretKeyRef", "configMapKeyRef"), "exactly one of secretKeyRef, configMapKeyRef"))

    secret_key_ref: SecretKey | None = Field(default=None, description="A key of a Secret.")
    config_map_key_ref: ConfigMapKey | None = Field(default=None, description="A key of a ConfigMap.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        names = {"secret_key_ref": "secretKeyRef", "config_map_key_ref": "configMapKeyRef"}
        one_of(self, names, what="this")
        return self


class Sentinel(Part):
    """A Redis whose primary is found through Sentinels."""

    addresses: tuple[Annotated[str, Field(max_length=260, pattern=r"^.+:[0-9]{1,5}$")], ...] = Field(
        min_length=1, max_length=16, json_schema_extra=listed("set"), description="Sentinels, as host:port."
    )
    master: str = Field(
        min_length=1, max_length=253, description="The name under which the Sentinels know the primary."
    )
    db: int = Field(default=0, ge=0, le=1_000_000, description="Database number.")
    username: str | None = Field(default=None, max_length=253, description="User at the Redis servers.")
    password_from: FromSecret | None = Field(default=None, description="Password at the Redis servers.")
    sentinel_username: str | None = Field(default=None, max_length=253, description="User at the Sentinels.")
    sentinel_password_from: FromSecret | None = Field(default=None, description="Password at the Sentinels.")


class Tls(Part):
    """How the server's certificate is checked, and which one the client shows."""

    ca_from: FromSecretOrConfigMap | None = Field(
        default=None, description="Authorities to trust, PEM. Default: the system's."
    )
    client_certificate_secret: ObjectName | None = Field(
        default=None, description="A Secret of type kubernetes.io/tls with the certificate that the client shows."
    )
    insecure_skip_verify: bool = Field(default=False, description="Accept any certificate. For experiments only.")


class Redis(Part):
    """Where the queues are: exactly one of url, urlFrom and sentinel."""

    model_config = rules(
        (sole("url", "urlFrom", "sentinel"), "exactly one of url, urlFrom, sentinel"),
        (
            "!has(self.tls) || !has(self.url) || self.url.startsWith('rediss')",
            "tls needs a rediss:// or rediss+sentinel:// url",
        ),
    )

    url: str | None = Field(
        default=None,
        max_length=2048,
        pattern=r"^(rediss?(\+sentinel)?|unix)://.+$",
        description="redis://host:6379/0, rediss:// for TLS, redis+sentinel://. Anyone who may read the pool can read it: with a "
        "password in it, use urlFrom.",
    )
    url_from: FromSecret | None = Field(default=None, description="The URL, kept in a Secret.")
    sentinel: Sentinel | None = Field(default=None, description="Find the primary through Sentinels.")
    tls: Tls | None = Field(default=None, description="TLS settings. With sentinel, their presence turns TLS on.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        one_of(self, {"url": "url", "url_from": "urlFrom", "sentinel": "sentinel"}, what="redis")
        if self.tls is not None and self.url is not None and not self.url.startswith("rediss"):
            raise ValueError("tls needs a rediss:// or rediss+sentinel:// url")
        return self


class ScaleUp(Part):
    """How fast a pool grows."""

    max_per_tick: int | None = Field(
        default=None,
        ge=1,
        le=MOST_REPLICAS,
        description="Most workers to add in one decision (one a second). Default: all at once.",
    )


class ScaleDown(Part):
    """How slowly a pool shrinks."""

    stabilization_seconds: int = Field(
        default=60, ge=0, le=3600, description="A pool shrinks to the largest size it wished for during this time."
    )
    to_zero_after_seconds: int = Field(
        default=120,
        ge=0,
        le=86_400,
        description="The last worker leaves after this long without a waiting or running job.",
    )


class Scaling(Part):
    """How many workers. With both targets the larger answer counts."""

    model_config = rules(
        ("self.minReplicas <= self.maxReplicas", "minReplicas must not be above maxReplicas"),
        (
            "has(self.targetDepthPerWorker) || has(self.targetWaitSeconds)",
            "at least one target: targetDepthPerWorker or targetWaitSeconds",
        ),
    )

    min_replicas: int = Field(default=0, ge=0, le=MOST_REPLICAS, description="Never fewer workers than this.")
    max_replicas: int = Field(
        default=10, ge=1, le=MOST_REPLICAS, description="Never more workers than this, unless they are still busy."
    )
    target_depth_per_worker: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Jobs per worker, waiting and running ones together."
    )
    target_wait_seconds: int | None = Field(
        default=None,
        ge=1,
        le=86_400,
        description="A job should start within this time; uses the measured time that jobs take.",
    )
    scale_up: ScaleUp = Field(default_factory=ScaleUp, description="How fast the pool grows.")
    scale_down: ScaleDown = Field(default_factory=ScaleDown, description="How slowly it shrinks.")
    paused: bool = Field(
        default=False, description="Keep the number of workers as it is. Also: annotation rqk.dev/paused."
    )
    dry_run: bool = Field(default=False, description="Decide and report, but do not act.")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"minReplicas ({self.min_replicas}) must not be above maxReplicas ({self.max_replicas})")
        if self.target_depth_per_worker is None and self.target_wait_seconds is None:
            raise ValueError("at least one target is needed: targetDepthPerWorker or targetWaitSeconds")
        return self


class Abandoned(str, Enum):
    """What becomes of a job whose worker died."""

    REQUEUE = "Requeue"
    FAIL = "Fail"


class EnvVar(Part):
    """An environment variable of the worker."""

    name: str = Field(min_length=1, max_length=253, pattern=r"^[^=\s]+$", description="Its name.")
    value: str | None = Field(default=None, max_length=32_768, description="Its value.")
    value_from: KubeObject | None = Field(
        default=None, description="A valueFrom as in a Pod. Not possible in `rqk up`."
    )


class Worker(Part):
    """What a worker of this pool is."""

    image: str | None = Field(
        default=None, min_length=1, max_length=1024, description="Your image: your code and rqk. Needed on Kubernetes."
    )
    command: tuple[Annotated[str, Field(max_length=4096)], ...] | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        json_schema_extra=listed("atomic"),
        description="Run this instead of `rqk worker`, such as [rq, worker, default]. The other settings of the "
        "worker are then yours to pass.",
    )
    preload: tuple[Annotated[str, Field(min_length=1, max_length=253)], ...] = Field(
        default=(),
        max_length=64,
        json_schema_extra=listed("atomic"),
        description="Modules to import once, before forking.",
    )
    recycle_after: int = Field(
        default=1, ge=1, le=1_000_000, description="Jobs that one forked process runs; 1 is a fresh one for each job."
    )
    job_memory_limit: Quantity | None = Field(default=None, description="Memory a job may use, such as 512Mi.")
    abandoned: Abandoned = Field(default=Abandoned.FAIL, description="What becomes of a job whose worker died.")
    # 300 s covers RQ's default job timeout of 180 s and stays below the 600 s that node drains commonly allow.
    grace_seconds: int = Field(
        default=300,
        ge=1,
        le=86_400,
        description="How long a stopping worker may finish its job; then it is put back in line.",
    )
    with_scheduler: bool = Field(
        default=True, description="Move scheduled jobs into their queues when due; only then they count for scaling."
    )
    env: tuple[EnvVar, ...] = Field(
        default=(), max_length=256, json_schema_extra=listed("map", "name"), description="Environment variables."
    )
    env_from: tuple[KubeObject, ...] = Field(
        default=(),
        max_length=64,
        json_schema_extra=listed("atomic"),
        description="As in a Pod. Not possible in `rqk up`.",
    )
    resources: KubeObject = Field(default_factory=dict, description="Requests and limits, as in a Pod.")
    metrics_port: int = Field(default=9727, ge=1, le=65_535, description="Port of /metrics, /healthz and /readyz.")


class DisruptionBudget(Part):
    """A PodDisruptionBudget for the pool's pods; given, it is made."""

    max_unavailable: Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^[0-9]{1,3}%$")] = Field(
        default="25%",
        json_schema_extra={"x-kubernetes-int-or-string": True},
        description="How many may be evicted at a time: a number or a percentage.",
    )


class PodMonitor(Part):
    """A PodMonitor of the Prometheus operator; given, it is made."""

    interval: str = Field(
        default="30s", max_length=16, pattern=r"^[0-9]+(ms|s|m|h)$", description="Time between scrapes."
    )
    labels: Labels = Field(default_factory=dict, description="Labels by which your Prometheus picks it.")


class NetworkPolicy(Part):
    """A NetworkPolicy that closes the workers but for metrics; given, it is made."""

    metrics_from: tuple[KubeObject, ...] = Field(
        default=(),
        max_length=32,
        json_schema_extra=listed("atomic"),
        description="Peers that may read the metrics port.",
    )
    egress: tuple[KubeObject, ...] | None = Field(
        default=None,
        max_length=64,
        json_schema_extra=listed("atomic"),
        description="Egress rules beside DNS and Redis. Left out: workers may call anything.",
    )


class PoolSpec(Part):
    """What is wished."""

    queues: tuple[QueueName, ...] = Field(
        min_length=1,
        max_length=64,
        json_schema_extra=listed("set"),
        description="Queues to serve, the first one first.",
    )
    redis: Redis | None = Field(
        default=None,
        json_schema_extra={"x-rqk-required-in-cluster": True},
        description="Where the queues are. `rqk up` starts a Valkey of its own if this is left out.",
    )
    replicas: int | None = Field(
        default=None,
        ge=0,
        le=MOST_REPLICAS,
        description="A number set by hand (`kubectl scale`): while it is there it rules, and the scaling section rests.",
    )
    scaling: Scaling = Field(description="How many workers.")
    worker: Worker = Field(default_factory=Worker, description="What a worker is.")
    template: KubeObject | None = Field(
        default=None, description="A PodTemplateSpec, merged under what the operator sets."
    )
    pod_disruption_budget: DisruptionBudget | None = Field(default=None, description="Make a PodDisruptionBudget.")
    pod_monitor: PodMonitor | None = Field(default=None, description="Make a PodMonitor.")
    network_policy: NetworkPolicy | None = Field(default=None, description="Make a NetworkPolicy.")

    @model_validator(mode="after")
    def _each_queue_once(self) -> Self:
        twice = sorted({name for name in self.queues if self.queues.count(name) > 1})
        if twice:
            raise ValueError(f"queues names {', '.join(twice)} more than once")
        return self


class Metadata(Part):
    """The part of an object's metadata that matters here; the rest is carried along."""

    model_config = ConfigDict(extra="allow")

    name: ObjectName
    namespace: str | None = None
    uid: str | None = None
    generation: int | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Pool(Part):
    """A pool of rqk workers that follows its queues, from zero to many and back."""

    api_version: Literal["rqk.dev/v1beta1"]
    kind: Literal["RQWorkerPool"]
    metadata: Metadata
    spec: PoolSpec
    status: PoolStatus | None = None

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def key(self) -> str:
        """``namespace/name``, or the bare name where there is no namespace."""
        return f"{self.metadata.namespace}/{self.name}" if self.metadata.namespace else self.name

    @property
    def paused(self) -> bool:
        """By ``scaling.paused`` or by the annotation, whose value ``false`` means no."""
        note = (self.metadata.annotations or {}).get(PAUSED_ANNOTATION)
        return self.spec.scaling.paused or (note is not None and note.lower() != "false")

    def manifest(self) -> dict[str, Any]:
        """Back to what a manifest says, defaults left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)
