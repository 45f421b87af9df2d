"""Dagster's code server (`dagster api grpc`, same options), resilient to database outages.

The stock server polls every half second for runs whose process died. If a poll finds one while the
database is down, the polling thread ends, and that run and all later ones would stay "started"
forever.
"""

from __future__ import annotations

import sys
from typing import Any

from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import SQLAlchemyError

from fruits_assets.dagster_internals import grpc_command, grpc_server

_DATABASE_ERRORS = (DagsterPostgresException, SQLAlchemyError)


def retry_polls_during_outages() -> None:
    """Patch the server to repeat its poll for dead runs after a database error."""
    server: Any = grpc_server()
    poll = server._check_for_orphaned_runs

    def poll_or_warn(self: Any) -> None:
        try:
            poll(self)
        except _DATABASE_ERRORS as error:
            self._logger.warning("The end of a run could not be stored yet: %s", error)

    server._check_for_orphaned_runs = poll_or_warn


if __name__ == "__main__":
    retry_polls_during_outages()
    sys.exit(grpc_command()())
