"""While Redis does not answer: when to ask again."""

from __future__ import annotations

import random
from dataclasses import dataclass

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0


@dataclass(slots=True)
class Outage:
    """Doubling waits with a quarter of jitter either way, so that a fleet does not come back as one. Times are monotonic seconds."""

    again_at: float = 0.0
    wait_s: float = 0.0

    @property
    def is_on(self) -> bool:
        """Whether Redis is away, as far as known."""
        return self.wait_s > 0.0

    def begin_or_go_on(self, now: float) -> float:
        """No answer (again): returns how long to wait."""
        self.wait_s = min(max(self.wait_s * 2, FIRST_WAIT_S), LONGEST_WAIT_S)
        wait = self.wait_s * random.uniform(0.75, 1.25)
        self.again_at = now + wait
        return wait

    def end(self) -> None:
        """Redis answered."""
        self.wait_s = 0.0
