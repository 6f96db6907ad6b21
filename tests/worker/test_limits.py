"""Sizes, limits, peaks, and the container's word on memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from rqk.core.verdict import explain
from rqk.worker import limits, memory, process
from rqk.worker.children import ChildSettings
from rqk.worker.limits import CgroupMemory, own_cgroup, parse_size
from tests.worker.stable import order, stable


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512Mi", 512 << 20),
        ("1Gi", 1 << 30),
        ("1.5Gi", 3 << 29),
        ("64Ki", 65536),
        ("2G", 2 * 10**9),
        ("100M", 10**8),
        ("10k", 10**4),
        ("1e9", 10**9),
        ("123456", 123456),
        (" 5 Mi ", 5 << 20),
        (4096, 4096),
        ("0.5k", 500),
    ],
)
def test_sizes_are_kubernetes_quantities(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "Mi", "512MB", "512mi", "-1", "0", "0.1", "1,5Gi", "many", "100m", 0, -5, True, "1e999", "٣"]
)
def test_what_is_no_size_is_refused_with_an_example(text: str | int) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


def test_a_memory_limit_holds_and_can_be_lifted_for_the_report() -> None:
    def child() -> int:
        used = memory.private_bytes()
        assert used
        memory.set_job_memory(used + (64 << 20))
        try:
            bytearray(256 << 20)
        except MemoryError:
            memory.lift_job_memory()
            return len(bytearray(256 << 20)) >> 28
        return 9

    assert os.waitstatus_to_exitcode(process.reap(process.spawn(child, group=False)) or 0) == 1


def test_a_tighter_hard_limit_of_the_container_stays() -> None:
    def child() -> int:
        hard = (memory.private_bytes() or 0) + (512 << 20)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
        memory.set_job_memory(1 << 40)
        assert resource.getrlimit(resource.RLIMIT_DATA) == (hard, hard)
        return 0

    assert process.reap(process.spawn(child, group=False)) == 0


def test_a_peak_can_be_started_anew() -> None:
    def child() -> int:
        bytearray(200 << 20)
        before = memory.peak_bytes()
        memory.reset_peak()
        return 0 if memory.peak_bytes() < before - (150 << 20) else 1

    assert process.reap(process.spawn(child, group=False)) == 0


def test_the_resident_memory_of_a_process() -> None:
    own = limits.resident_bytes(os.getpid())
    assert own is not None
    assert own > 1 << 20
    pid = process.spawn(lambda: 0, group=False)
    process.reap(pid)
    assert limits.resident_bytes(pid) is None


GAPS = """
from rqk.worker import memory
scattered = [bytes(100) for _ in range(400)]
del scattered[::2]
kept = memory.fill_gaps()
places = [id(thing) for thing in [bytes(100) for _ in range(50)]]
assert places == list(range(places[0], places[0] + 50 * 144, 144)), places
assert sum(map(len, kept)) < 1 << 20
"""


def test_after_the_gaps_are_filled_new_objects_stand_side_by_side() -> None:
    done = subprocess.run([sys.executable, "-c", GAPS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_oom_score_is_raised() -> None:
    def child() -> int:
        memory.raise_oom_score(700)
        return 0 if Path("/proc/self/oom_score_adj").read_text() == "700\n" else 1

    assert process.reap(process.spawn(child, group=False)) == 0


def tree(root: Path, version: int, **files: str) -> Path:
    """Write the files of a control group's directory."""
    root.mkdir(parents=True, exist_ok=True)
    names = (
        {"limit": "memory.max", "events": "memory.events", "usage": "memory.current"}
        if version == 2
        else {"limit": "memory.limit_in_bytes", "events": "memory.oom_control", "usage": "memory.usage_in_bytes"}
    )
    for name, text in files.items():
        (root / names[name]).write_text(text)
    return root


V2_MOUNT = "33 26 0:28 {root} {mount} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = "33 26 0:28 {root} {mount} rw,nosuid - cgroup cgroup rw,memory\n"
OTHERS = "21 26 0:19 / /sys rw - sysfs sysfs rw\n34 26 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"


def look(tmp_path: Path, membership: str, mounts: str) -> CgroupMemory:
    """Find the group with these contents of /proc/self/cgroup and /proc/self/mountinfo."""
    (tmp_path / "cgroup").write_text(membership)
    (tmp_path / "mountinfo").write_text(OTHERS + mounts)
    return own_cgroup(tmp_path / "cgroup", tmp_path / "mountinfo")


def test_version_2_in_a_container_with_its_own_namespace(tmp_path: Path) -> None:
    mount = tree(
        tmp_path / "fs", 2, limit="536870912\n", events="low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\n", usage="1000\n"
    )
    group = look(tmp_path, "0::/\n", V2_MOUNT.format(root="/", mount=mount))
    assert (group.version, group.oom_kills(), group.limit(), group.usage()) == (2, 3, 512 << 20, 1000)


def test_version_2_takes_the_tightest_limit_of_all_above(tmp_path: Path) -> None:
    mount = tree(tmp_path / "fs", 2)
    tree(mount / "pod", 2, limit="1000000\n", events="oom_kill 5\n")
    tree(mount / "pod" / "box", 2, limit="max\n", events="oom_kill 1\n")
    group = look(tmp_path, "0::/pod/box\n", V2_MOUNT.format(root="/", mount=mount))
    assert (group.oom_kills(), group.limit()) == (1, 1_000_000)


def test_version_1_with_the_hosts_path_seen_from_inside(tmp_path: Path) -> None:
    mount = tree(
        tmp_path / "fs", 1, limit="67108864\n", events="oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", usage="7\n"
    )
    lines = "12:cpu,cpuacct:/kubepods/pod1/abc\n4:memory:/kubepods/pod1/abc\n0::/\n"
    for root in ("/kubepods/pod1/abc", "/", "/elsewhere"):
        group = look(tmp_path, lines, V1_MOUNT.format(root=root, mount=mount))
        assert (group.version, group.oom_kills(), group.limit(), group.usage()) == (1, 2, 64 << 20, 7)


def test_version_1_writes_no_limit_as_a_huge_number(tmp_path: Path) -> None:
    mount = tree(tmp_path / "fs", 1, limit="9223372036854771712\n", events="oom_kill_disable 0\n")
    group = look(tmp_path, "4:memory:/\n", V1_MOUNT.format(root="/", mount=mount))
    assert (group.limit(), group.oom_kills()) == (None, None)


@pytest.mark.parametrize(
    ("membership", "mounts"), [("", ""), ("garbage", "garbage - - -\n"), ("0::/\n", "x y z - cgroup2 a b\n")]
)
def test_without_a_control_group_nothing_is_known(tmp_path: Path, membership: str, mounts: str) -> None:
    group = look(tmp_path, membership, mounts)
    assert (group.oom_kills(), group.limit(), group.usage()) == (None, None, None)


def test_without_proc_nothing_is_known(tmp_path: Path) -> None:
    assert own_cgroup(tmp_path / "none", tmp_path / "none") == CgroupMemory(0, ())


@pytest.fixture
def small_cgroup() -> Iterator[CgroupMemory]:
    """A real control group of the test's own, below this process's, with 200 MiB. Needs root and a writable mount."""
    own = own_cgroup()
    if not own.directories or not os.access(own.directories[0], os.W_OK):
        pytest.skip("the memory control group of this process cannot be written to")
    directory = own.directories[0] / f"rqk-test-{uuid.uuid4().hex[:8]}"
    try:
        directory.mkdir()
        (directory / ("memory.max" if own.version == 2 else "memory.limit_in_bytes")).write_text(str(200 << 20))
    except OSError as error:
        if directory.exists():
            directory.rmdir()
        pytest.skip(f"no memory control group can be made here: {error}")
    yield CgroupMemory(own.version, (directory, *own.directories))
    directory.rmdir()


def test_a_real_kill_by_the_kernel_is_counted_and_explained(small_cgroup: CgroupMemory, tmp_path: Path) -> None:
    (tmp_path / "joins_the_small_group.py").write_text(
        f"import os\nopen({str(small_cgroup.directories[0] / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
    )
    before = small_cgroup.oom_kills()
    with stable(ChildSettings(preload=("joins_the_small_group",), path=(str(tmp_path),))) as keeper:
        exited = keeper.run_to_death(order("eat", 400))
        assert not keeper.zygote.closed  # the horse was taken, not the zygote
        verdict = explain(
            exited.status,
            oom_kills_before=before,
            oom_kills_after=small_cgroup.oom_kills(),
            peak_bytes=exited.maxrss_kib << 10,
            memory_limit_bytes=small_cgroup.limit(),
        )
    assert small_cgroup.limit() == 200 << 20
    assert verdict.outcome == "oom"
    assert verdict.text.startswith(
        "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9); SIGKILL, out of memory"
    )
    assert "of 200.0 MiB allowed" in verdict.text
