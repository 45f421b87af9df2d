"""Dagster's code server (`dagster api grpc`, same options) that outlives an outage of its database.

The stock server polls every half second for runs whose process died. The first poll that finds
one while the database is away ends the polling thread: that run, and each after it, would stay
"started" for ever.
"""

from __future__ import annotations

import sys
from typing import Any

from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import SQLAlchemyError

from fruits_assets.dagster_internals import grpc_command, grpc_server

_DATABASE_IS_AWAY = (DagsterPostgresException, SQLAlchemyError)


def look_again_where_the_database_is_away() -> None:
    """Make the server's poll for dead runs one that is repeated where it fails."""
    server: Any = grpc_server()
    poll = server._check_for_orphaned_runs

    def patient_look(self: Any) -> None:
        try:
            poll(self)
        except _DATABASE_IS_AWAY as error:
            self._logger.warning("A run has ended, and that is not stored yet: %s", error)

    server._check_for_orphaned_runs = patient_look


if __name__ == "__main__":
    look_again_where_the_database_is_away()
    sys.exit(grpc_command()())
