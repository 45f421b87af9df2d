"""Scan and redact all rows of a Dagster database, SQLite or PostgreSQL, regardless of schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from fruits_assets.records.redaction import COLUMNS_WITH_NAMES, Redaction
from spark_src.erasure.decode import texts_of_value
from spark_src.erasure.needles import Needles
from spark_src.errors import ErasureError

_ROWS_AT_ONCE = 500
_WAIT_SECONDS = 30
"""Timeout for locks held by other processes."""

_ROW = "_row_of_table"


@dataclass(frozen=True)
class Database:
    """One database; `close` ends its connections."""

    engine: sa.Engine
    name: str
    """The name for messages, without a password."""

    @classmethod
    def from_url(cls, url: str, name: str) -> Database:
        """The database at a SQLAlchemy URL."""
        options = {"timeout": _WAIT_SECONDS} if url.startswith("sqlite") else {}
        return cls(sa.create_engine(url, poolclass=NullPool, connect_args=options), name)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a SQLite file."""
        return self.engine.dialect.name == "sqlite"

    def redact(self, redaction: Redaction) -> int:
        """Redact a person in every row; return how many rows were changed.

        The old pages are overwritten, because deleted rows remain in a database's pages.

        Raises:
            ErasureError: the database cannot be changed.
        """
        try:
            changed = [self._redact_table(table, redaction) for table in self._tables()]
            self._wipe()
        except SQLAlchemyError as error:
            raise ErasureError(
                f"The records in {self.name} cannot be changed ({type(error).__name__}). The "
                "database may be locked by other processes, or not writable for this user. Stop "
                "Dagster's daemon and webserver, and run `fruits erase` again."
            ) from error
        return sum(changed)

    def hits(self, needles: Needles) -> int:
        """The number of rows that contain data of a target.

        Raises:
            ErasureError: the database cannot be read.
        """
        try:
            return sum(
                any(needles.are_in(text) for text in _texts(values))
                for table in self._tables()
                for _, values in self._rows(table)
            )
        except SQLAlchemyError as error:
            raise ErasureError(
                f"The records in {self.name} cannot be read ({type(error).__name__}). Is the "
                "database running? Run `fruits erase` again."
            ) from error

    def texts(self) -> Iterator[bytes]:
        """The texts of every row."""
        for table in self._tables():
            for _, values in self._rows(table):
                yield from _texts(values)

    def _tables(self) -> list[str]:
        return [self._quoted(name) for name in sa.inspect(self.engine).get_table_names()]

    def _quoted(self, name: str) -> str:
        return self.engine.dialect.identifier_preparer.quote(name)

    def _rows(self, table: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each row's physical id, and its values that can contain text."""
        row_id = "rowid" if self.is_sqlite else "cast(ctid as text)"
        sql = sa.text(f"select {row_id} as {_ROW}, {table}.* from {table}")  # noqa: S608 - of the schema
        with self.engine.connect() as connection:
            found = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(sql)
            for row in found.mappings():
                texts = {
                    name: value
                    for name, value in row.items()
                    if name != _ROW and isinstance(value, (str, bytes, memoryview))
                }
                yield row[_ROW], texts

    def _redact_table(self, table: str, redaction: Redaction) -> int:
        changes = []
        for row_id, values in self._rows(table):
            redacted = {
                name: redaction.value(value, name in COLUMNS_WITH_NAMES)
                for name, value in values.items()
            }
            changed = {name: new for name, new in redacted.items() if new != values[name]}
            if changed:
                changes.append((row_id, changed))
        if not changes:
            return 0
        with self.engine.connect() as connection:
            if self.is_sqlite:
                connection.execute(sa.text("pragma secure_delete = on"))
            for row_id, changed in changes:
                self._update(connection, table, row_id, changed)
            connection.commit()
        return len(changes)

    def _update(
        self, connection: sa.Connection, table: str, row_id: str, changed: dict[str, Any]
    ) -> None:
        where = "rowid = :row" if self.is_sqlite else "ctid = cast(:row as tid)"
        columns = ", ".join(f"{self._quoted(name)} = :v{n}" for n, name in enumerate(changed))
        values = {f"v{n}": value for n, value in enumerate(changed.values())}
        try:
            with connection.begin_nested():
                update = f"update {table} set {columns} where {where}"  # noqa: S608 - of the schema
                connection.execute(sa.text(update), {"row": row_id, **values})
        except IntegrityError:  # another row already has the redacted key
            delete = f"delete from {table} where {where}"  # noqa: S608 - of the schema
            connection.execute(sa.text(delete), {"row": row_id})

    def _wipe(self) -> None:
        """Rewrite the pages, because free pages and gaps still contain deleted data.

        Also of tables without changes: their rows may have been deleted before.
        """
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if self.is_sqlite:
                connection.execute(sa.text("vacuum"))
                connection.execute(sa.text("pragma wal_checkpoint(truncate)"))
                return
            connection.execute(sa.text(f"set lock_timeout = '{_WAIT_SECONDS}s'"))
            for table in self._tables():
                connection.execute(sa.text(f"vacuum full {table}"))

    def close(self) -> None:
        """Close its connections."""
        self.engine.dispose()


def closing_database(url: str, name: str) -> closing[Database]:
    """A context manager for a database that closes its connections."""
    return closing(Database.from_url(url, name))


def _texts(values: dict[str, Any]) -> Iterator[bytes]:
    for value in values.values():
        content = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else bytes(value)
        yield from texts_of_value(content)
