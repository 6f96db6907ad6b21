"""The images of this project, and an app's image on top, built from the project's own Dockerfiles."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.kube.access import Access
from tests.kube.settings import PROJECT, places
from tests.kube.versions import PYTHON_IMAGE
from tests.kube.wheelhouse import make_wheelhouse

WORKER = "localhost/rqk-worker:test"
OPERATOR = "localhost/rqk-operator:test"
APP = "localhost/rqk-app:test"
RQ = "rq==3.0.0"
_APP = Path(__file__).parent / "app"


def build_images(cluster: Access) -> None:
    """Build what changed, and load it into the cluster. Nothing is fetched while an image is built."""
    context = places().cache / "image-context"
    make_wheelhouse(PROJECT, context / "wheelhouse", extras=("operator",))
    for name, tag in (("worker", WORKER), ("operator", OPERATOR)):
        cluster.build_image(PROJECT / "images" / f"{name}.Dockerfile", context, tag, {"BASE": PYTHON_IMAGE})
    app = places().cache / "app-context"
    make_wheelhouse((RQ,), app / "wheels")
    shutil.copy(_APP / "shop.py", app / "shop.py")
    cluster.build_image(_APP / "Dockerfile", app, APP, {"BASE": WORKER})
