"""Names of RQ that are not here: what their users read instead of them."""

from __future__ import annotations

import sys

_ONE_WORKER = "there is one kind of worker; Worker(…, recycle_after=N) runs N jobs in one fork"
_NOT_YET = "rqk does not have it yet; RQ's own, on the same Redis, works beside rqk"
REASONS = {
    "SimpleWorker": _ONE_WORKER,
    "SpawnWorker": _ONE_WORKER,
    "WorkerPool": "`rqk up -f pool.yaml` runs pools of workers",
    "Group": _NOT_YET,
    "Webhook": _NOT_YET,
    "RateLimit": _NOT_YET,
}


def missing(module: str, name: str) -> AttributeError:
    """What a module's ``__getattr__`` raises for a name it does not have. Raises ImportError itself in a ``from … import``,
    which would not show the reason of an AttributeError; hasattr() and getattr() need that one.
    """
    reason = REASONS.get(name)
    if reason is None:
        return AttributeError(f"module {module!r} has no attribute {name!r}")
    # The import system looks whether the package has the name before it looks for a module of that name.
    if sys._getframe(2).f_code.co_name == "_handle_fromlist":  # noqa: SLF001 - nothing else tells the two apart
        raise ImportError(f"cannot import name {name!r} from {module!r}: {reason}", name=module)
    return AttributeError(f"module {module!r} has no attribute {name!r}: {reason}")
