"""Wheels for an image's Python, gathered beforehand: an image build needs no network then."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from tests.kube import oci
from tests.kube.commands import say
from tests.kube.toolchain import pip
from tests.kube.versions import IMAGE_PYTHON

# Oldest first would do too: pip takes the best of those that the image's libc (2.36) can load.
PLATFORMS = (*(f"manylinux_2_{minor}_x86_64" for minor in (34, 31, 28, 24, 17)), "manylinux2014_x86_64")
KEY_FILE = ".key"


def make_wheelhouse(
    source: Path | Sequence[str], dest: Path, *, extras: Sequence[str] = (), python: str = IMAGE_PYTHON
) -> Path:
    """Fill ``dest`` with wheels of a project folder, or of requirements, and of all they depend on.

    Chosen for the image's Python, whichever runs this. Unchanged input leaves ``dest`` as it is, so that
    the image's own content hash stays as it is too.
    """
    key = _key(source, extras, python, dest)
    if (dest / KEY_FILE).exists() and (dest / KEY_FILE).read_text() == key:
        return dest
    say(f"  wheels for Python {python} into {dest}")
    shutil.rmtree(dest, ignore_errors=True)
    dest.mkdir(parents=True)
    pip(
        ("download", "--quiet", "--dest", str(dest), *_target(python), *_wanted(source, dest, extras)),
        resolve_for=python,
    )
    (dest / KEY_FILE).write_text(key)
    return dest


def _wanted(source: Path | Sequence[str], dest: Path, extras: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(source, Path):
        return tuple(source)
    before = set(dest.glob("*.whl"))
    # A fixed date inside: the same sources are the same wheel, byte for byte.
    env = {"SOURCE_DATE_EPOCH": "1700000000"}
    pip(("wheel", "--quiet", "--no-deps", "--wheel-dir", str(dest), str(source)), env=env)
    (made,) = set(dest.glob("*.whl")) - before
    return (f"{made}[{','.join(extras)}]" if extras else str(made),)


def _target(python: str) -> tuple[str, ...]:
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    abi = "cp{}{}".format(*python.split("."))
    return (
        "--only-binary=:all:", "--python-version", python, "--implementation", "cp",
        "--abi", abi, "--abi", "abi3", "--abi", "none", *platforms,
    )  # fmt: skip


def _key(source: Path | Sequence[str], extras: Sequence[str], python: str, dest: Path) -> str:
    digest = sha256(repr((python, sorted(extras))).encode())
    if isinstance(source, Path):
        ignored = oci.ignore_patterns(source)
        for path in oci.context_files(source, ignored):
            if path.is_relative_to(dest):  # what is made must not decide whether to make it
                continue
            digest.update(path.relative_to(source).as_posix().encode() + b"\0")
            digest.update(os.readlink(path).encode() if path.is_symlink() else path.read_bytes())
    else:
        digest.update(repr(sorted(source)).encode())
    return digest.hexdigest()
