"""Every row of a database of Dagster's, SQLite or PostgreSQL, whatever its tables are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from fruits_assets.records.redaction import Redaction
from spark_src.erasure.decode import texts_of_value
from spark_src.erasure.needles import Needles
from spark_src.errors import ErasureError

_ROWS_AT_ONCE = 500
_WAIT_SECONDS = 30
"""For locks that others hold."""

_ROW = "_row_of_table"


@dataclass(frozen=True)
class Database:
    """One database; `close` ends its connections."""

    engine: sa.Engine
    name: str
    """As messages have it: without a password."""

    @classmethod
    def from_url(cls, url: str, name: str) -> Database:
        """The database at a URL of SQLAlchemy's."""
        options = {"timeout": _WAIT_SECONDS} if url.startswith("sqlite") else {}
        return cls(sa.create_engine(url, poolclass=NullPool, connect_args=options), name)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self.engine.dialect.name == "sqlite"

    def redact(self, redaction: Redaction) -> int:
        """Take a person out of every row; return how many rows were changed.

        What was there is overwritten: deleted rows live on in a database's pages.

        Raises:
            ErasureError: the database cannot be changed.
        """
        try:
            changed = {table: self._redact_table(table, redaction) for table in self._tables()}
            self._wipe([table for table, count in changed.items() if count])
        except SQLAlchemyError as error:
            raise ErasureError(
                f"The records in {self.name} cannot be changed ({type(error).__name__}). Is it "
                "used by others all the time, or may this user not write there? Stop Dagster's "
                "daemon and webserver, and run `fruits erase` again."
            ) from error
        return sum(changed.values())

    def hits(self, needles: Needles) -> int:
        """How many rows hold something of a target.

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
        """What every row says."""
        for table in self._tables():
            for _, values in self._rows(table):
                yield from _texts(values)

    def _tables(self) -> list[str]:
        return [self._quoted(name) for name in sa.inspect(self.engine).get_table_names()]

    def _quoted(self, name: str) -> str:
        return self.engine.dialect.identifier_preparer.quote(name)

    def _rows(self, table: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each row's place, and its values that can hold a text."""
        place = "rowid" if self.is_sqlite else "cast(ctid as text)"
        sql = sa.text(f"select {place} as {_ROW}, {table}.* from {table}")  # noqa: S608 - of the schema
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
        for place, values in self._rows(table):
            redacted = {name: redaction.value(value) for name, value in values.items()}
            changed = {name: new for name, new in redacted.items() if new != values[name]}
            if changed:
                changes.append((place, changed))
        if not changes:
            return 0
        with self.engine.connect() as connection:
            if self.is_sqlite:
                connection.execute(sa.text("pragma secure_delete = on"))
            for place, changed in changes:
                self._update(connection, table, place, changed)
            connection.commit()
        return len(changes)

    def _update(
        self, connection: sa.Connection, table: str, place: str, changed: dict[str, Any]
    ) -> None:
        where = "rowid = :row" if self.is_sqlite else "ctid = cast(:row as tid)"
        columns = ", ".join(f"{self._quoted(name)} = :v{n}" for n, name in enumerate(changed))
        values = {f"v{n}": value for n, value in enumerate(changed.values())}
        try:
            with connection.begin_nested():
                update = f"update {table} set {columns} where {where}"  # noqa: S608 - of the schema
                connection.execute(sa.text(update), {"row": place, **values})
        except IntegrityError:  # another row is called so already
            delete = f"delete from {table} where {where}"  # noqa: S608 - of the schema
            connection.execute(sa.text(delete), {"row": place})

    def _wipe(self, tables: list[str]) -> None:
        """Write the pages anew: in free ones, and between rows, lies what was deleted earlier."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if self.is_sqlite:
                connection.execute(sa.text("vacuum"))
                connection.execute(sa.text("pragma wal_checkpoint(truncate)"))
                return
            connection.execute(sa.text(f"set lock_timeout = '{_WAIT_SECONDS}s'"))
            for table in tables:
                connection.execute(sa.text(f"vacuum full {table}"))

    def close(self) -> None:
        """End its connections."""
        self.engine.dispose()


def closing_database(url: str, name: str) -> closing[Database]:
    """A database for a while."""
    return closing(Database.from_url(url, name))


def _texts(values: dict[str, Any]) -> Iterator[bytes]:
    for value in values.values():
        content = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else bytes(value)
        yield from texts_of_value(content)
