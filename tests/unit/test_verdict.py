"""How a horse ended, in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqk.core.verdict import EXIT_BROKEN, EXIT_MUTE, EXIT_ORPHAN, STOPPED_TEXT, explain, seconds_text, size_text

MIB = 1 << 20
RQ_OPENING = "Work-horse terminated unexpectedly; waitpid returned "


@pytest.mark.parametrize(
    ("status", "known", "outcome", "words"),
    [
        pytest.param(
            9,
            {"oom_kills_before": 1, "oom_kills_after": 2},
            "oom",
            "9 (signal 9); SIGKILL, out of memory",
            id="counted by the kernel",
        ),
        pytest.param(
            9,
            {"peak_bytes": 95 * MIB, "memory_limit_bytes": 100 * MIB},
            "oom",
            "most likely out of memory",
            id="close to the limit",
        ),
        pytest.param(
            9,
            {"oom_kills_before": 1, "oom_kills_after": 1},
            "crashed",
            "SIGKILL, from outside",
            id="killed by somebody",
        ),
        pytest.param(9, {}, "crashed", "no counter could be read", id="killed, nothing known"),
        pytest.param(
            139, {}, "crashed", "139 (signal 11); SIGSEGV, invalid memory access", id="segmentation fault with a core"
        ),
        pytest.param(11, {}, "crashed", "11 (signal 11); SIGSEGV", id="segmentation fault"),
        pytest.param(
            6,
            {"peak_bytes": 99 * MIB, "memory_limit_bytes": 100 * MIB},
            "oom",
            "SIGABRT, most likely out of memory",
            id="abort at the limit",
        ),
        pytest.param(15, {}, "crashed", "SIGTERM, sent from outside", id="terminated"),
        pytest.param(50, {}, "crashed", "50 (signal 50)", id="a real-time signal"),
        pytest.param(0, {}, "crashed", "0; the job ended its process with exit code 0", id="exit 0"),
        pytest.param(256, {}, "crashed", "256; the job ended its process with exit code 1", id="exit 1"),
        pytest.param(EXIT_BROKEN << 8, {}, "crashed", "rqk's own code failed", id="our fault"),
        pytest.param(EXIT_ORPHAN << 8, {}, "crashed", "parent process was already gone", id="orphan"),
        pytest.param(EXIT_MUTE << 8, {}, "crashed", "closed the file descriptor", id="mute"),
        pytest.param(None, {}, "crashed", "None; the process that would have waited", id="the zygote died first"),
    ],
)
def test_an_unexpected_end(status: int | None, known: dict[str, Any], outcome: str, words: str) -> None:
    verdict = explain(status, **known)
    assert verdict.outcome == outcome
    assert verdict.text.startswith(RQ_OPENING)
    assert words in verdict.text


@pytest.mark.parametrize(
    ("killed_for", "outcome", "words"),
    [
        (
            "timeout",
            "timeout",
            f"{RQ_OPENING}None; Task exceeded maximum timeout value (180 seconds) and did not react",
        ),
        ("memory", "oom", f"{RQ_OPENING}9 (signal 9); out of memory: the job used more than its memory limit"),
        ("grace", "stopped", f"{RQ_OPENING}9 (signal 9); its worker was told to stop"),
        ("lease", "stopped", f"{RQ_OPENING}9 (signal 9); its worker had lost the lease"),
        ("stop", "stopped", "Job stopped by user, work-horse terminated."),
    ],
)
def test_an_end_of_our_own_making(killed_for: Any, outcome: str, words: str) -> None:
    verdict = explain(9, killed_for=killed_for, timeout_s=180)
    assert verdict.outcome == outcome
    assert verdict.text.startswith(words)


def test_a_stopped_job_has_rqs_words_and_no_others() -> None:
    assert explain(9, killed_for="stop", peak_bytes=MIB, crash_text="x").text == STOPPED_TEXT


def test_peak_and_limit_are_told() -> None:
    assert explain(11, peak_bytes=30 * MIB, memory_limit_bytes=512 * MIB).text.endswith(
        "Peak memory 30.0 MiB of 512.0 MiB allowed."
    )
    assert explain(11, peak_bytes=30 * MIB).text.endswith("Peak memory 30.0 MiB.")
    assert explain(11, memory_limit_bytes=512 * MIB).text.endswith("The memory limit was 512.0 MiB.")


def test_the_traceback_of_a_crash_follows_cut_at_its_end() -> None:
    text = explain(
        11,
        crash_text="Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n  in f\n",
    ).text
    assert "\n\nFatal Python error: Segmentation fault" in text
    assert text.endswith("in f")
    assert explain(11, crash_text="a" * 100_000).text.endswith("a\n...")


@given(
    st.none() | st.integers(0, 0xFFFF),
    st.sampled_from([None, "timeout", "stop", "grace", "lease", "memory"]),
    st.none() | st.integers(0, 9),
    st.none() | st.integers(0, 9),
    st.none() | st.integers(0, 1 << 40),
    st.none() | st.integers(0, 1 << 40),
)
def test_every_end_has_a_verdict(
    status: int | None, killed_for: Any, before: int | None, after: int | None, peak: int | None, limit: int | None
) -> None:
    verdict = explain(
        status,
        killed_for=killed_for,
        oom_kills_before=before,
        oom_kills_after=after,
        peak_bytes=peak,
        memory_limit_bytes=limit,
    )
    assert verdict.outcome in {"timeout", "oom", "crashed", "stopped"}
    assert verdict.text.startswith((RQ_OPENING, STOPPED_TEXT))


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 29, "1.5 GiB"), (1 << 50, "1048576.0 GiB")],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(180, "180"), (180.0, "180"), (0.5, "0.5"), (10**7, "10000000")])
def test_seconds_for_people(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text
