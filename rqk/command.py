"""Commands to workers, under RQ's names: shut down, kill the running horse, stop a job. Workers of RQ hear them, too.

A command is told once and kept nowhere: a worker that is not listening at that moment (it restarts, or Redis is away) misses it.
"""

from __future__ import annotations

from rqk.connections import resolve_connection
from rqk.core import commands
from rqk.core.commands import Command
from rqk.core.states import JobStatus
from rqk.errors import InvalidJobOperation
from rqk.execution import Execution
from rqk.job import Job
from rqk.store import workers
from rqk.store.connect import Client


def send_shutdown_command(connection: Client | None, worker_name: str) -> None:
    """Ask a worker to finish its job and go."""
    _send(connection, worker_name, Command(commands.SHUTDOWN))


def send_kill_horse_command(connection: Client | None, worker_name: str) -> None:
    """Have a worker kill the process that runs its job; the job fails. Nothing happens if it runs none."""
    _send(connection, worker_name, Command(commands.KILL_HORSE))


def send_stop_job_command(connection: Client | None, job_id: str, serializer: object = None) -> None:
    """Stop a running job: its process is killed, its status becomes stopped, and it is not tried again.

    ``serializer`` is taken for RQ's sake. Raises NoSuchJobError, and InvalidJobOperation for a job that does not run.
    """
    client = resolve_connection(connection)
    job = Job.fetch(job_id, client)
    if job.record.status is not JobStatus.STARTED or not job.record.worker_name:
        status = job.record.status or "nowhere"
        raise InvalidJobOperation(f"job {job.id} is not running (it is {status}), so it cannot be stopped")
    _send(client, job.record.worker_name, Command(commands.STOP_JOB, job.id))


def send_stop_execution_command(connection: Client | None, job_id: str, execution_id: str) -> None:
    """Stop one attempt at a job. Raises InvalidJobOperation if it is over."""
    client = resolve_connection(connection)
    try:
        execution = Execution.fetch(execution_id, job_id, client)
    except ValueError as error:
        raise InvalidJobOperation(f"execution {execution_id} of job {job_id} is over") from error
    _send(client, execution.worker_name, Command(commands.STOP_EXECUTION, job_id, execution_id))


def _send(connection: Client | None, worker: str, command: Command) -> None:
    workers.send(resolve_connection(connection), worker, command)
