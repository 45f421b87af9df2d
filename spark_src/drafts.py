"""Who is writing a version that is not done yet, and whether that process still lives."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

Writer = dict[str, Any]
"""`run_id`, `host`, `pid` and `started_at` (ISO 8601)."""

_ABANDONED_AFTER = timedelta(days=1)
"""What another machine's process does cannot be seen: it is waited for so long."""


def writer(run_id: str, now: datetime) -> Writer:
    """This process, as the writer of a draft."""
    return {
        "run_id": run_id,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started_at": now.isoformat(),
    }


def is_being_written(by: Writer, run_id: str) -> bool:
    """Whether a draft may still be finished; `run_id` is the run that asks."""
    if by["run_id"] == run_id:
        return False  # this run's own earlier try
    if datetime.now(UTC) - datetime.fromisoformat(by["started_at"]) > _ABANDONED_AFTER:
        return False
    return by["host"] != socket.gethostname() or _lives(by["pid"])


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
