"""pip that resolves for another Python than the one it runs on: ``python foreign_pip.py 3.11.2 download ...``.

``pip download --python-version`` chooses wheels for that Python, but reads conditions such as
``python_full_version < "3.11.3"`` with the Python it runs on. An image with 3.11.2 would then miss a wheel.
Run as a program of its own, since it changes pip's idea of the world.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any


def marker_values(version: str) -> dict[str, str]:
    """What the conditions of a requirement may ask about a CPython on Linux of this version."""
    return {
        "python_full_version": version,
        "python_version": ".".join(version.split(".")[:2]),
        "implementation_version": version,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
    }


def main(argv: Sequence[str]) -> int:
    version, *words = argv
    markers: Any = importlib.import_module("pip._vendor.packaging.markers")
    here = markers.default_environment()
    markers.default_environment = lambda: {**here, **marker_values(version)}
    return int(importlib.import_module("pip._internal.cli.main").main(words))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
