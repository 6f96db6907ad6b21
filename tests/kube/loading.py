"""Image archives into the cluster's containerd."""

from __future__ import annotations

from pathlib import Path

from tests.kube import oci
from tests.kube.commands import run
from tests.kube.components import Site

NAMESPACE = "k8s.io"  # where the kubelet looks


def ctr(site: Site, *args: str | Path, timeout: float = 300.0) -> str:
    return run(
        site.programs["ctr"], f"--address={site.places.containerd_socket}", f"--namespace={NAMESPACE}", *args,
        timeout=timeout,
    )  # fmt: skip


def load(site: Site, archive: Path, tag: str) -> bool:
    """Returns whether there was anything to do: an image that is there already is not read again."""
    if digest_of(ctr(site, "images", "ls", f"name=={tag}"), tag) == oci.archive_digest(archive):
        return False
    ctr(site, "images", "import", archive)
    return True


def digest_of(listing: str, tag: str) -> str | None:
    """From the table that ``ctr images ls`` prints: name, media type, digest, size, ..."""
    rows = (line.split() for line in listing.splitlines())
    return next((row[2] for row in rows if len(row) > 2 and row[0] == tag), None)
