"""What a cluster leaves in the kernel and outside its own folder, and how to take exactly that away.

Works from what is found, not from what was remembered: it serves a proper end and the remains of a
run that was killed alike, and doing it twice is doing it once.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.kube.errors import FixtureError
from tests.kube.processes import PROC, end, identify
from tests.kube.settings import Places

CNI_RESULTS = Path("/var/lib/cni/results")
SHIM_SOCKETS = Path("/run/containerd/s")


def end_shims(places: Places) -> None:
    """A shim is ours if it was told to report to our containerd."""
    for pid in shims(places.containerd_socket):
        if who := identify(pid):
            end(who, patience=0.5)


def shims(socket: Path, proc: Path = PROC) -> list[int]:
    found = []
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if words[0].endswith("containerd-shim-runc-v2") and str(socket) in words:
                    found.append(int(entry.name))
    return sorted(found)


def mounts_below(folder: Path, table: str) -> list[Path]:
    """Mount points in a folder, the last mounted first. ``table`` is the text of /proc/self/mountinfo."""
    points = (Path(_unescaped(line.split()[4])) for line in table.splitlines())
    return [point for point in reversed(list(points)) if folder in point.parents or point == folder]


def _unescaped(path: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path


def unmount_all(folder: Path) -> None:
    """Root filesystems, volumes and network namespaces of pods."""
    for _ in range(3):  # one may hide another of the same place
        points = mounts_below(folder.resolve(), (PROC / "self/mountinfo").read_text())
        if not points:
            return
        for point in points:
            # Lazily: a mount that some dying process still holds goes with it.
            subprocess.run(("umount", "-l", point), check=False, capture_output=True, stdin=subprocess.DEVNULL)
    if points := mounts_below(folder.resolve(), (PROC / "self/mountinfo").read_text()):
        raise FixtureError(f"cannot unmount {', '.join(map(str, points))}")


def shim_sockets(places: Places) -> Iterator[Path]:
    """The sockets that shims made outside our folder, as each of their bundles tells."""
    for bundle in (places.state / "containerd" / "state").glob("io.containerd.runtime.v2.task/*/*/bootstrap.json"):
        with suppress(OSError, ValueError):
            address = str(json.loads(bundle.read_text()).get("address", ""))
            socket = Path(address.removeprefix("unix://"))
            if socket.parent == SHIM_SOCKETS:
                yield socket


def remove_files(places: Places, *, keep_logs: bool) -> None:
    """The state folder, and the few files that others write elsewhere in our name."""
    for socket in list(shim_sockets(places)):
        socket.unlink(missing_ok=True)
    for result in CNI_RESULTS.glob("rqk-*"):
        result.unlink(missing_ok=True)
    if not places.state.exists():
        return
    for entry in places.state.iterdir():
        if entry == places.logs and keep_logs:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
