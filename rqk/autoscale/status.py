"""What is reported about a pool: the ``status`` of an RQWorkerPool."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from rqk.autoscale.part import Part, listed

Text = Annotated[str, Field(max_length=1024)]
Count = Annotated[int, Field(ge=0)]


class QueueStatus(Part):
    """One queue as it was last seen."""

    name: str = Field(max_length=200, description="The queue.")
    depth: Count | None = Field(default=None, description="Jobs waiting in it. Absent: it could not be read.")
    oldest_wait_seconds: Count | None = Field(default=None, description="How long its first job has waited.")


class LastDecision(Part):
    """Why the pool has the size it has; the arithmetic can be checked with the inputs."""

    replicas: Count = Field(description="The decided number of workers.")
    reason: str = Field(max_length=64, description="One word, such as DepthTarget, Stabilizing, Paused.")
    message: Text = Field(description="The same as a sentence.")
    inputs: Annotated[dict[str, Annotated[str, Field(max_length=256)]], Field(max_length=32)] = Field(
        default_factory=dict, description="The numbers that went in, as text."
    )
    at: datetime = Field(description="When.")


class Condition(Part):
    """A condition in the manner of Kubernetes."""

    type: str = Field(max_length=64, description="Ready, RedisReachable, ScalingActive, ScalingLimited, TemplateValid.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(min_length=1, max_length=64, description="One word.")
    message: Annotated[str, Field(max_length=4096)] = Field(default="", description="A sentence.")
    last_transition_time: datetime = Field(description="When the status last changed.")
    observed_generation: Count | None = Field(
        default=None, description="The generation of the pool that this is about."
    )


class PoolStatus(Part):
    """What the operator last saw and did."""

    observed_generation: Count | None = Field(
        default=None, description="The generation of the pool that this is about."
    )
    replicas: Count | None = Field(default=None, description="Worker pods that exist.")
    ready_replicas: Count | None = Field(default=None, description="Those that take jobs.")
    busy_workers: Count | None = Field(default=None, description="Workers that run a job.")
    idle_workers: Count | None = Field(default=None, description="Workers that wait for one.")
    retiring_workers: Count | None = Field(
        default=None, description="Workers that take no more jobs and are about to go."
    )
    depth: Count | None = Field(default=None, description="Waiting jobs of all queues.")
    oldest_wait_seconds: Count | None = Field(default=None, description="The longest wait of a job still waiting.")
    queues: tuple[QueueStatus, ...] = Field(
        default=(), max_length=64, json_schema_extra=listed("map", "name"), description="Each queue."
    )
    desired_replicas: Count | None = Field(default=None, description="The number of workers that was last decided on.")
    last_decision: LastDecision | None = Field(default=None, description="How that number came about.")
    last_scale_time: datetime | None = Field(default=None, description="When the number of workers last changed.")
    selector: str | None = Field(
        default=None, max_length=1024, description="Label selector of the pods, for the scale subresource."
    )
    conditions: tuple[Condition, ...] = Field(
        default=(), max_length=16, json_schema_extra=listed("map", "type"), description="In short: is all well?"
    )
