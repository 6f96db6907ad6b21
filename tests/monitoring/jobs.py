"""Jobs that count with prometheus_client, as a user's own code does."""

from __future__ import annotations

import time

from prometheus_client import Counter

MAILS = Counter("shop_mails_sent", "Mails that the shop sent.", ["kind"])
REFUSED = Counter("rqk_shop_mails", "A name that belongs to rqk.")


def send_mail(kind: str, seconds: float = 0.05) -> str:
    """Take a while and count."""
    time.sleep(seconds)
    MAILS.labels(kind).inc()
    return kind


def count_under_our_name() -> None:
    """Count under a name that the worker refuses."""
    REFUSED.inc()


def resize_picture(seconds: float, megabytes: int) -> int:
    """Take a while and some memory."""
    picture = bytearray(megabytes << 20)
    picture[::4096] = b"x" * len(picture[::4096])
    time.sleep(seconds)
    return len(picture)
