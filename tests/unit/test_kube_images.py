"""Images for the cluster that is built here: when they are built again, and how one is recognised."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kube import oci
from tests.kube.loading import digest_of


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "pkg" / "__pycache__").mkdir(parents=True)
    (folder / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
    (folder / "pkg" / "code.py").write_text("x = 1\n")
    return folder


def key_of(context: Path, **build_args: str) -> str:
    return oci.content_key(context / "Dockerfile", context, build_args)


Change = Callable[[Path], object]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda it: (it / "pkg/code.py").write_text("x = 2\n"), id="contents"),
        pytest.param(lambda it: (it / "pkg/code.py").rename(it / "pkg/other.py"), id="a name"),
        pytest.param(lambda it: (it / "pkg/code.py").chmod(0o755), id="an executable bit"),
        pytest.param(lambda it: (it / "Dockerfile").write_text("FROM scratch\n"), id="the Dockerfile"),
    ],
)
def test_an_image_is_built_again_when_what_goes_in_changes(context: Path, change: Change) -> None:
    before = key_of(context)
    change(context)
    assert key_of(context) != before


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda it: os.utime(it / "pkg/code.py", (1, 1)), id="a time"),
        pytest.param(lambda it: (it / "pkg/__pycache__/code.pyc").touch(), id="Python's own cache"),
    ],
)
def test_an_image_is_not_built_again_for(context: Path, change: Change) -> None:
    before = key_of(context)
    change(context)
    assert key_of(context) == before


def test_a_build_argument_is_a_part_of_the_image(context: Path) -> None:
    assert key_of(context, BASE="a") != key_of(context, BASE="b")


@pytest.mark.parametrize(
    ("pattern", "path", "ignored"),
    [
        ("docs", "docs", True),
        ("docs", "pkg/docs", False),
        ("*.md", "README.md", True),
        ("*.md", "pkg/README.md", False),
        ("**/*.md", "pkg/README.md", True),
        ("pkg/*.md", "pkg/README.md", True),
        ("a/**/b", "a/x/y/b", False),
    ],
)
def test_ignored_files_are_those_that_docker_ignores(pattern: str, path: str, ignored: bool) -> None:
    assert oci._matches(Path(path), [pattern]) is ignored  # noqa: SLF001


def test_an_archive_tells_its_digest(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps({"manifests": [{"digest": "sha256:abc"}]}))
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        tar.add(tmp_path / "index.json", "index.json")
    assert oci.archive_digest(tmp_path / "image.tar") == "sha256:abc"
    assert oci.archive_name("localhost/rqk:test", "k") == "rqk_test-k.tar"


def test_an_image_that_is_there_is_recognised() -> None:
    table = "REF TYPE DIGEST SIZE\nlocalhost/rqk:test application/x sha256:abc 1 MiB linux/amd64 -\n"
    assert digest_of(table, "localhost/rqk:test") == "sha256:abc"
    assert digest_of(table, "localhost/rqk:other") is None
