"""``python -m tests.kube``: the cluster by hand."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.kube.access import obtain
from tests.kube.cluster import Cluster
from tests.kube.commands import clock, say
from tests.kube.components import ORDER
from tests.kube.doctor import examine
from tests.kube.errors import FixtureError
from tests.kube.settings import places


def up(cluster: Cluster, _: argparse.Namespace) -> int:
    start = time.monotonic()
    cluster.up()
    say(f"took {clock(time.monotonic() - start)}")
    print(cluster.places.kubeconfig)
    return 0


def down(cluster: Cluster, _: argparse.Namespace) -> int:
    cluster.down()
    return 0


def build(cluster: Cluster, _: argparse.Namespace) -> int:
    cluster.prepare()
    return 0


def status(cluster: Cluster, _: argparse.Namespace) -> int:
    """Code 0 if the cluster is ready, 1 if not."""
    for name in ORDER:
        pid = cluster.keeper.pid(name)
        print(f"{name:24} {f'running, pid {pid}' if pid else 'not running'}")
    missing = cluster.plan() or cluster.lacking()
    print("\n".join(missing) if missing else f"ready: export KUBECONFIG={cluster.places.kubeconfig}")
    return 1 if missing else 0


def doctor(cluster: Cluster, _: argparse.Namespace) -> int:
    findings = list(examine(cluster))
    for finding in findings:
        print(finding)
    for step in cluster.plan():
        print(f"up will {step}")
    return 0 if all(it.fine for it in findings) else 1


def build_image(_: Cluster, words: argparse.Namespace) -> int:
    arguments = dict(part.split("=", 1) for part in words.build_arg)
    print(obtain().build_image(words.file, words.context, words.tag, arguments, words.target))
    return 0


def load_image(_: Cluster, words: argparse.Namespace) -> int:
    fresh = obtain().load_image(words.tag)
    say(f"{words.tag} {'loaded' if fresh else 'was there already'}")
    return 0


COMMANDS: dict[str, tuple[Callable[[Cluster, argparse.Namespace], int], str]] = {
    "up": (up, "build what is missing, start the cluster, leave it running; does nothing if it is up"),
    "down": (down, "end the cluster and remove its traces; programs, images and logs are kept"),
    "status": (status, "which components run, and what is lacking"),
    "build": (build, "packages, programs and images, without starting anything"),
    "doctor": (doctor, "whether this machine can run it, and what `up` will have to do"),
    "build-image": (build_image, "build a Dockerfile on the local base image and load it"),
    "load-image": (load_image, "load an image that was built here"),
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m tests.kube", description="A real single-node Kubernetes for tests.")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    made = {name: commands.add_parser(name, help=text, description=text) for name, (_, text) in COMMANDS.items()}
    for name in ("build-image", "load-image"):
        made[name].add_argument("tag", help="for instance localhost/rqk:test")
    image = made["build-image"]
    image.add_argument("-f", "--file", type=Path, default=Path("Dockerfile"))
    image.add_argument("--context", type=Path, default=Path())
    image.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    image.add_argument("--target", default="", help="stop at this stage of the Dockerfile")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    words = parser().parse_args(argv)
    act, _ = COMMANDS[words.command]
    try:
        return act(Cluster(places()), words)
    except FixtureError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from here")
        return 130


if __name__ == "__main__":
    sys.exit(main())
