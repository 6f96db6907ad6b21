"""The black box itself: real RQ, both versions, run by the tests as its users run it."""

from __future__ import annotations

import pytest

from tests.support.realrq import RealRq, RealRqError
from tests.support.waiting import wait_until
from tests.wire.conftest import StartRqWorker


def test_real_rq_works_a_job_of_its_own(rq: RealRq) -> None:
    job_id = rq.enqueue("tests.support.jobs.add", 1, right=2)
    assert rq.status(job_id) == "queued"
    rq.burst()
    assert rq.job(job_id)["value"] == 3


def test_an_error_in_real_rq_reaches_the_test(rq: RealRq) -> None:
    with pytest.raises(RealRqError, match="NoSuchJobError"):
        rq.status("nobody")


def test_a_worker_of_real_rq_runs_beside_the_test(rq: RealRq, start_rq_worker: StartRqWorker) -> None:
    start_rq_worker()
    job_id = rq.enqueue("math.sqrt", 16)
    wait_until(lambda: rq.status(job_id) == "finished", 20, "the job to finish")
    assert rq.job(job_id)["value"] == 4.0
