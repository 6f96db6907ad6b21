"""Image archives: reading what an OCI archive says of itself, and naming one by what goes into it."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

# Never part of an image, and different after every test run: they would make each build a new one.
NOISE = {".git", "__pycache__", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"}


ANY_KEY = "[0-9a-f]" * 16  # as a glob: not the key and the end of a longer tag


def archive_name(tag: str, key: str) -> str:
    """``localhost/rqk-python:bookworm`` -> ``rqk-python_bookworm-<key>.tar``."""
    return f"{tag.rpartition('/')[2].replace(':', '_')}-{key}.tar"


def archive_digest(archive: Path) -> str:
    """The digest by which a container runtime knows the image in the archive."""
    with tarfile.open(archive) as tar:
        member = tar.extractfile("index.json")
        if member is None:
            raise ValueError(f"{archive} is no image archive")
        return str(json.load(member)["manifests"][0]["digest"])


def content_key(dockerfile: Path, context: Path, build_args: Mapping[str, str], *bases: str) -> str:
    """Changes when anything that the build can see changes; file times are not among that."""
    digest = hashlib.sha256(dockerfile.read_bytes())
    for part in (*sorted(f"{name}={value}" for name, value in build_args.items()), *bases):
        digest.update(part.encode() + b"\0")
    ignored = ignore_patterns(context)
    for path in context_files(context, ignored):
        status = path.lstat()
        digest.update(f"{path.relative_to(context)}\0{status.st_mode & 0o111:o}\0".encode())
        digest.update(os.readlink(path).encode() if path.is_symlink() else path.read_bytes())
    return digest.hexdigest()[:16]


def ignore_patterns(context: Path) -> list[str]:
    """The plain lines of ``.dockerignore``. Exceptions (``!``) are left out, which only means a rebuild too many."""
    file = context / ".dockerignore"
    lines = file.read_text().splitlines() if file.exists() else []
    if any(line.startswith("!") for line in lines):
        return []
    return [line.strip().strip("/") for line in lines if line.strip() and not line.startswith("#")]


def context_files(context: Path, ignored: list[str]) -> Iterator[Path]:
    """Every file of a build context, in a fixed order."""
    for folder, subfolders, files in os.walk(context):
        here = Path(folder).relative_to(context)
        subfolders[:] = sorted(it for it in subfolders if it not in NOISE and not _matches(here / it, ignored))
        for name in sorted(files):
            if not _matches(here / name, ignored):
                yield Path(folder) / name


def _matches(path: Path, patterns: list[str]) -> bool:
    return any(_match(path.parts, pattern) for pattern in patterns)


def _match(parts: tuple[str, ...], pattern: str) -> bool:
    """A pattern that this does not know ignores nothing: the image is built once too often, never too rarely."""
    wanted = pattern.split("/")
    if wanted[0] == "**" and len(wanted) == 2:
        return fnmatch.fnmatchcase(parts[-1], wanted[1])
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))
