"""Every error that rqk raises on purpose: one root, one sentence each, in the words of RQ where RQ has a name for it."""

from __future__ import annotations


class RqkError(Exception):
    """Something that rqk noticed and can name."""


class NoSuchJobError(RqkError):
    """There is no job with this id: it never was, was deleted, or its time to live is over."""


class NoSuchGroupError(RqkError):
    """There is no group with this name."""


class DeserializationError(RqkError):
    """Stored bytes could not be read back; reader and writer probably use different serializers."""


class SerializationError(RqkError):
    """A value cannot be stored with the chosen serializer."""


class DuplicateJobError(RqkError):
    """A job with this id exists already and the caller asked for a unique one."""


class InvalidJobOperation(RqkError):
    """The job is not in a state in which this can be done."""


class InvalidJobDependency(RqkError):
    """A dependency that cannot be honoured."""


class TimeoutFormatError(RqkError, ValueError):
    """A duration that is neither a number of seconds nor text such as 90s, 5m, 2h or 1d."""


class UnreadableJob(RqkError):
    """A job hash holds a field that cannot be understood."""


class AbandonedJobError(RqkError):
    """The worker that ran the job is gone without a word."""


class StoreError(RqkError):
    """Redis or Valkey said something that prevents further work."""


class StoreUnavailable(StoreError):
    """Redis did not answer, or is not ready yet; asking again later may help."""


class StoreFull(StoreUnavailable):
    """Redis is at its memory limit and stores nothing new; jobs that wait can still be worked off."""


class StoreRefused(StoreError):
    """Redis refused the connection's credentials or permissions; asking again will not help."""


class StoreTooOld(StoreError):
    """The server lacks commands that rqk needs; Redis 6.2 or any Valkey is enough."""


class WrongKeyType(StoreError):
    """A key under rqk's prefix holds another Redis type than RQ's wire protocol says."""


class BadUrl(RqkError, ValueError):
    """A Redis URL that cannot be understood."""


class DuplicateWorkerError(RqkError, ValueError):
    """A live worker with this name exists already."""


class WorkerSetupError(RqkError, ValueError):
    """A worker cannot run any job the way it is set up."""


class NoRedisConnection(RqkError):
    """No Redis connection was given, set with use_connection or found in the environment."""


class BadPool(RqkError, ValueError):
    """A pool manifest that does not follow the schema."""


class JobTimeoutException(BaseException):
    """The job ran longer than its timeout.

    Derives from BaseException so that an ``except Exception:`` in a job cannot swallow it.
    """


class ShutDownImminentException(BaseException):
    """The worker is about to stop and asks the job to put its things in order."""
