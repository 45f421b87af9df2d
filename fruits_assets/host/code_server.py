"""Dagster's code server (`dagster api grpc`, same options) that outlives an outage of its database.

The stock server looks every half second for runs whose process died. The first look that finds
one while the database is away ends the thread that looks: that run, and each after it, would stay
"started" for ever.
"""

from __future__ import annotations

import sys

from dagster._cli.api import grpc_command
from dagster._grpc.server import DagsterApiServer
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import SQLAlchemyError

_DATABASE_IS_AWAY = (DagsterPostgresException, SQLAlchemyError)


def look_again_where_the_database_is_away() -> None:
    """Make the server's look for dead runs one that is repeated where it fails."""
    look = DagsterApiServer._check_for_orphaned_runs

    def patient_look(self: DagsterApiServer) -> None:
        try:
            look(self)
        except _DATABASE_IS_AWAY as error:
            self._logger.warning("A run has ended, and that is not stored yet: %s", error)

    DagsterApiServer._check_for_orphaned_runs = patient_look  # type: ignore[method-assign]


if __name__ == "__main__":
    look_again_where_the_database_is_away()
    sys.exit(grpc_command())
