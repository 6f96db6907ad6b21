"""Dates, epochs and durations as the wire and people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rqk.core.times import epoch_texts, from_date, from_epoch, parse_duration, to_date, to_epoch
from rqk.errors import RqkError, TimeoutFormatError

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@given(MOMENTS)
@example(datetime(4148, 1, 1, microsecond=999993, tzinfo=UTC))  # as a float, of the next second
@example(datetime(9999, 12, 31, 23, 59, 59, 999999, UTC))
def test_a_date_survives_the_wire(moment: datetime) -> None:
    text = to_date(moment)
    assert from_date(text) == from_date(text.encode()) == moment
    assert len(text) == len("2026-11-23T22:50:51.676309Z")


@given(MOMENTS, st.integers(-23, 23))
def test_a_zone_changes_the_clock_face_and_not_the_moment(moment: datetime, hours: int) -> None:
    try:
        elsewhere = moment.astimezone(timezone(timedelta(hours=hours)))
    except OverflowError:
        return
    assert to_date(elsewhere) == to_date(moment)


@given(MOMENTS, st.lists(st.timedeltas(timedelta(seconds=-2), timedelta(seconds=2)), max_size=8))
def test_dates_written_one_after_the_other_are_each_right(moment: datetime, steps: list[timedelta]) -> None:
    """What is kept of the last one must not show in the next."""
    for step in steps:
        try:
            moment += step
        except OverflowError:
            return
        assert to_date(moment) == moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def test_the_fraction_always_has_six_digits() -> None:
    assert to_date(datetime(2026, 11, 23, 22, 50, 51, tzinfo=UTC)) == "2026-11-23T22:50:51.000000Z"


def test_rqs_form_without_a_fraction_is_read() -> None:
    assert from_date(b"2026-11-23T22:50:51Z") == datetime(2026, 11, 23, 22, 50, 51, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "Z", "2026-11-23", "2026-11-23 22:50:51Z", "2026-11-23T22:50:51", "yesterdayTZ"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_date(text)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_an_epoch_keeps_microseconds(moment: datetime) -> None:
    assert from_epoch(to_epoch(moment)) == moment


@given(st.datetimes(datetime(1971, 1, 1), datetime(2105, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_the_texts_of_an_epoch_are_those_of_its_date_and_its_float(moment: datetime) -> None:
    assert epoch_texts(moment.timestamp()) == (to_date(moment), repr(moment.timestamp()))


@pytest.mark.parametrize(
    ("seconds", "date", "number"),
    [
        (0.0, "1970-01-01T00:00:00.000000Z", "0.0"),
        (0.00001, "1970-01-01T00:00:00.000010Z", "0.00001"),
        (1795474251.6763091, "2026-11-23T22:50:51.676309Z", "1795474251.676309"),
        (1795474251.9999999, "2026-11-23T22:50:52.000000Z", "1795474252.0"),
        (-4.699999, "1969-12-31T23:59:55.300001Z", "-4.699999"),
    ],
)
def test_the_texts_of_an_unusual_epoch(seconds: float, date: str, number: str) -> None:
    assert epoch_texts(seconds) == (date, number)


@pytest.mark.parametrize(
    ("given_", "seconds"),
    [
        (None, None),
        (0, 0),
        (-1, -1),
        (90, 90),
        (1.9, 1),
        ("90", 90),
        ("-1", -1),
        ("1.9", 1),
        ("90s", 90),
        ("5m", 300),
        ("2H", 7200),
        ("1d", 86400),
        (" 10 m ", 600),
    ],
)
def test_durations(given_: float | str | None, seconds: int | None) -> None:
    assert parse_duration(given_) == seconds


@given(st.integers(0, 10**6), st.sampled_from("smhdSMHD"))
def test_a_unit_multiplies(number: int, unit: str) -> None:
    assert parse_duration(f"{number}{unit}") == number * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit.lower()]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "5x",
        "h",
        "1h30m",
        "-5m",
        "nan",
        "inf",
        "-inf",
        "1e400",
    ],
)
def test_other_texts_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(TimeoutFormatError, match=r"'90s' or '1h'") as caught:
        parse_duration(text)
    assert repr(text) in str(caught.value)
    assert isinstance(caught.value, RqkError)
    assert isinstance(caught.value, ValueError)


@given(st.one_of(st.text(), st.floats(), st.integers()))
@example(float("inf"))
def test_no_other_error_ever_comes_out(value: float | str) -> None:
    try:
        assert isinstance(parse_duration(value), int)
    except TimeoutFormatError:
        pass
