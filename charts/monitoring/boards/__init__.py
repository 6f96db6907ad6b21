"""The dashboards, one module each."""

from __future__ import annotations

from charts.monitoring.board import Board
from charts.monitoring.boards.fleet import FLEET
from charts.monitoring.boards.pool import POOL_BOARD
from charts.monitoring.boards.queues import QUEUES
from charts.monitoring.boards.rq import RQ
from charts.monitoring.boards.worker import WORKER

BOARDS: tuple[Board, ...] = (FLEET, POOL_BOARD, WORKER, QUEUES, RQ)
