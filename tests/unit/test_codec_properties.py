"""Records to bytes and back, over whatever a hash may hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rqk.core import codec
from rqk.core.records import ExecutionRecord, JobRecord, ResultRecord, ResultType, WorkerRecord
from rqk.core.states import JobStatus
from rqk.core.times import float_text
from rqk.errors import UnreadableJob
from tests.support.examples import examples

KNOWN = {name for field in JobRecord._fields for name in (field, field.removesuffix("_raw"))} | {
    "dependency_id",
    "id",
}
# Every text that Redis can hold and Python can write: emoji, NUL, line ends, right-to-left marks.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
# What a decoder makes of bytes that are no UTF-8 must be written back as the same bytes.
FOREIGN = st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape"))
WORDS = TEXTS.filter(bool)
IDS = st.from_regex(r"[A-Za-z0-9_-]+", fullmatch=True)
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
NUMBERS = st.integers(-1, 2**40)
WAITS = st.lists(st.integers(0, 10**9), max_size=4).map(tuple)
HOOKS = st.lists(
    st.fixed_dictionaries(
        {"url": TEXTS, "job_status": st.sampled_from(["finished", "failed"]), "headers": st.none(), "timeout": NUMBERS}
    ),
    max_size=2,
).map(tuple)
EXTRAS = st.dictionaries(WORDS.filter(lambda name: name not in KNOWN), st.binary(), max_size=3).map(
    lambda found: tuple(found.items())
)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


JOBS = st.builds(
    JobRecord,
    id=IDS,
    status=maybe(st.sampled_from(JobStatus)),
    created_at=maybe(MOMENTS),
    data=st.binary(),
    origin=maybe(TEXTS | FOREIGN),
    description=maybe(TEXTS | FOREIGN),
    enqueued_at=maybe(MOMENTS),
    started_at=maybe(MOMENTS),
    ended_at=maybe(MOMENTS),
    last_heartbeat=maybe(MOMENTS),
    worker_name=maybe(WORDS),
    timeout=maybe(NUMBERS),
    result_ttl=maybe(NUMBERS),
    failure_ttl=maybe(NUMBERS),
    ttl=maybe(NUMBERS),
    meta_raw=maybe(st.binary()),
    dependency_ids=st.lists(IDS, max_size=3).map(tuple),
    allow_dependency_failures=maybe(st.booleans()),
    enqueue_at_front=maybe(st.booleans()),
    retries_left=maybe(NUMBERS),
    retry_intervals=maybe(WAITS),
    number_of_retries=maybe(NUMBERS),
    enqueue_at_front_on_retry=st.booleans(),
    repeats_left=maybe(NUMBERS),
    repeat_intervals=maybe(WAITS),
    success_callback_name=maybe(WORDS),
    success_callback_timeout=maybe(NUMBERS),
    failure_callback_name=maybe(WORDS),
    failure_callback_timeout=maybe(NUMBERS),
    stopped_callback_name=maybe(WORDS),
    stopped_callback_timeout=maybe(NUMBERS),
    webhooks=HOOKS,
    group_id=maybe(WORDS),
    rate_limit_key=maybe(WORDS),
    rate_limit_concurrency=maybe(NUMBERS),
    result_raw=maybe(st.binary()),
    exc_info_raw=maybe(st.binary()),
    extra=EXTRAS,
)


def as_read(written: dict[str, bytes]) -> dict[bytes, bytes]:
    """What Redis gives back."""
    return {name.encode(): value for name, value in written.items()}


@given(JOBS)
def test_a_job_survives_its_hash(job: JobRecord) -> None:
    assert codec.decode_job(job.id, as_read(codec.encode_job(job))) == job


@given(JOBS)
def test_writing_what_was_read_changes_nothing(job: JobRecord) -> None:
    first = codec.encode_job(job)
    assert codec.encode_job(codec.decode_job(job.id, as_read(first))) == first


@given(
    st.dictionaries(
        st.sampled_from(sorted(name.encode() for name in KNOWN)) | st.binary(max_size=8),
        st.binary(max_size=12) | st.sampled_from([b"", b"1", b"-1", b"x", b"[]", b"[1]", b'["a"]', b"{}", b"null"]),
    )
)
@settings(max_examples=examples(300))
def test_any_hash_is_read_or_refused_with_the_fields_name(found: dict[bytes, bytes]) -> None:
    try:
        codec.decode_job("j", found)
        return
    except UnreadableJob as error:
        words = str(error)
    assert [name for name in found if repr(name.decode("utf-8", "surrogateescape")) in words], words


@pytest.mark.parametrize(
    ("field", "raw"),
    [
        (b"status", b"sleeping"),
        (b"timeout", b"soon"),
        (b"created_at", b"yesterday"),
        (b"retry_intervals", b"{}"),
        (b"retry_intervals", b"[1e999]"),
        (b"repeat_intervals", b"[" * 100_000),
        (b"dependency_ids", b"not json"),
        (b"success_callback_timeout", b""),
    ],
)
def test_an_unreadable_field_is_named_with_its_value(field: bytes, raw: bytes) -> None:
    with pytest.raises(UnreadableJob) as caught:
        codec.decode_job("the-job", {b"data": b"", field: raw})
    assert "the-job" in str(caught.value)
    assert repr(field.decode()) in str(caught.value)
    assert repr(raw[:60]) in str(caught.value)


def test_webhooks_that_cannot_be_read_are_none_as_in_rq() -> None:
    assert codec.decode_job("j", {b"webhooks": b"not json"}).webhooks == ()


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ({b"dependency_id": b"a"}, ("a",)),
        ({b"dependency_ids": b'["a", "b"]', b"dependency_id": b"a"}, ("a", "b")),
        ({}, ()),
    ],
)
def test_old_writers_know_one_dependency(found: dict[bytes, bytes], wanted: tuple[str, ...]) -> None:
    job = codec.decode_job("j", found)
    assert job.dependency_ids == wanted
    assert job.extra == ()


RESULTS = st.builds(
    ResultRecord,
    type=st.sampled_from(ResultType),
    worker_name=TEXTS,
    return_value=maybe(st.binary()),
    exc_string=maybe(TEXTS),
    execution_id=maybe(TEXTS),
    execution_started_at=maybe(st.floats(0, 1e11)),
    execution_ended_at=maybe(st.floats(0, 1e11)),
)


@given(RESULTS)
def test_a_result_survives_its_stream(result: ResultRecord) -> None:
    assert codec.decode_result(as_read(codec.encode_result(result))) == result


@given(RESULTS, st.text(st.characters(categories=["Cs"]), min_size=1))
def test_a_traceback_with_halves_of_characters_is_stored_all_the_same(result: ResultRecord, odd: str) -> None:
    written = codec.encode_result(replace(result, exc_string=f"Error: {odd}"))
    assert (codec.decode_result(as_read(written)).exc_string or "").startswith("Error: ")


@pytest.mark.parametrize(
    "found",
    [
        pytest.param({}, id="no type"),
        pytest.param({b"type": b"9"}, id="an unknown type"),
        pytest.param({b"type": b"1", b"return_value": b"a"}, id="no base64"),
        pytest.param({b"type": b"2", b"exc_string": b"aGVsbG8="}, id="not compressed"),
    ],
)
def test_bytes_that_are_no_result_are_refused(found: dict[bytes, bytes]) -> None:
    with pytest.raises(ValueError):
        codec.decode_result(found)


@given(st.builds(ExecutionRecord, id=IDS, job_id=IDS, worker_name=TEXTS, names_job=st.booleans()), MOMENTS, MOMENTS)
def test_an_execution_survives_its_hash(execution: ExecutionRecord, created: datetime, beat: datetime) -> None:
    execution = replace(execution, created_at=created, last_heartbeat=beat)
    again = codec.decode_execution(execution.id, execution.job_id, as_read(codec.encode_execution(execution)))
    for seen, wanted in ((again.created_at, created), (again.last_heartbeat, beat)):
        assert seen is not None
        assert abs((seen - wanted).total_seconds()) < 1e-4
    assert replace(again, created_at=None, last_heartbeat=None) == replace(
        execution, created_at=None, last_heartbeat=None
    )


QUEUE_NAMES = st.lists(WORDS.filter(lambda name: "," not in name), min_size=1, max_size=3).map(tuple)


@given(
    st.builds(
        WorkerRecord,
        name=WORDS,
        birth=maybe(MOMENTS),
        last_heartbeat=maybe(MOMENTS),
        queues=QUEUE_NAMES,
        pid=maybe(NUMBERS),
        hostname=maybe(WORDS),
        ip_address=maybe(WORDS),
        state=maybe(WORDS),
        current_job=maybe(WORDS),
        successful_job_count=maybe(NUMBERS),
        failed_job_count=maybe(NUMBERS),
        total_working_time=maybe(st.floats(0, 1e12)),
        death=maybe(MOMENTS),
    )
)
def test_a_worker_survives_its_hash(worker: WorkerRecord) -> None:
    assert codec.decode_worker(worker.name, as_read(codec.encode_worker(worker))) == worker


@given(st.dictionaries(st.sampled_from([b"birth", b"pid", b"queues", b"total_working_time", b"x"]), st.binary()))
def test_a_bad_worker_hides_no_other(found: dict[bytes, bytes]) -> None:
    assert codec.decode_worker("w", found).name == "w"


@given(st.floats(0, allow_nan=False, allow_infinity=False))
def test_floats_are_written_without_exponents_and_read_back_the_same(value: float) -> None:
    text = float_text(value)
    assert float(text) == value
    assert "e" not in text


@given(st.dictionaries(st.binary(), st.binary()))
def test_pairs(found: dict[bytes, bytes]) -> None:
    assert codec.pairs([part for item in found.items() for part in item]) == found


def test_half_a_pair_is_an_error() -> None:
    with pytest.raises(ValueError):
        codec.pairs([b"name"])
