"""The job. Nothing in here knows that it is run by a queue."""

from __future__ import annotations

from urllib.request import urlopen


def count_words_at_url(url: str) -> int:
    """How many words the page at ``url`` has. Raises OSError if it cannot be read within 10 s."""
    with urlopen(url, timeout=10) as answer:
        return len(answer.read().decode().split())
