"""What can go wrong between the operator and the API server."""

from __future__ import annotations

from dataclasses import dataclass

from rqk.errors import RqkError


class OperatorError(RqkError):
    """The operator cannot start, or cannot go on."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A field that another manager holds, as a refused server-side apply names it."""

    manager: str
    field: str


class KubeError(RqkError):
    """The API server refused a request, or did not answer.

    ``status`` is the HTTP status (0: no answer), ``reason`` one word such as NotFound, Invalid, Forbidden.
    """

    def __init__(self, status: int, reason: str, message: str, conflicts: tuple[Conflict, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.conflicts = conflicts

    @property
    def is_missing(self) -> bool:
        """There is no such object, or no such kind."""
        return self.status == 404

    @property
    def is_rejection(self) -> bool:
        """What was sent is wrong; sending it again will not help."""
        return self.status in (400, 403, 422)

    @property
    def is_passing(self) -> bool:
        """Asking again later may help."""
        return self.status in (0, 408, 429) or self.status >= 500
