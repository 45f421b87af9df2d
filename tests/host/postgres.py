"""Debian's PostgreSQL on a free port, with a password, run as its own user if we are root."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg2

from tests.programs import program

USER = DATABASE = "dagster"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def binary(name: str) -> str:
    """Debian does not put the server's commands on the PATH; tests are skipped without them."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([*map(str, folders), os.environ["PATH"]])
    return program(name, "postgresql", path)


class Postgres:
    """One server, from `initdb` to the removal of its folder."""

    def __init__(self) -> None:
        # Not in pytest's folder, which other users cannot read.
        self.folder = Path(tempfile.mkdtemp(prefix="fruits-postgres-", dir="/tmp"))
        self.data = self.folder / "data"
        self.port = free_port()
        self.password = secrets.token_hex(16)
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.getuid() == 0 else None
        if self._user:
            shutil.chown(self.folder, self._user)
        (self.folder / "password").write_text(self.password)
        (self.folder / "password").chmod(0o444)
        self._run("initdb", "-U", USER, "-A", "scram-sha-256", "--pwfile", "../password", "-N", ".")
        self.start()
        self.query(f"create database {DATABASE}", database="postgres")

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder}"
        self._run("pg_ctl", "start", "-w", "-D", ".", "-l", "../log", "-o", options)

    def stop(self) -> None:
        """Stop immediately, cutting connections."""
        self._run("pg_ctl", "stop", "-w", "-D", ".", "-m", "fast")

    def remove(self) -> None:
        self._run("pg_ctl", "stop", "-D", ".", "-m", "immediate")
        shutil.rmtree(self.folder)

    @property
    def variables(self) -> dict[str, str]:
        """The variables that infra/host/dagster.yaml reads."""
        return {
            "DAGSTER_POSTGRES_HOST": "127.0.0.1",
            "DAGSTER_POSTGRES_PORT": str(self.port),
            "DAGSTER_POSTGRES_DB": DATABASE,
            "DAGSTER_POSTGRES_USER": USER,
            "DAGSTER_POSTGRES_PASSWORD": self.password,
        }

    def dump(self) -> bytes:
        """Back up as in docs/host.md."""
        return self._client("pg_dump", "--format=custom", DATABASE)

    def restore(self, dump: bytes, database: str) -> None:
        """Restore as in docs/host.md, to a separate database."""
        self.query(f"create database {database}")
        self._client("pg_restore", "--clean", "--if-exists", f"--dbname={database}", given=dump)

    def query(self, sql: str, *values: Any, database: str = DATABASE) -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, dbname=database, user=USER, password=self.password
        )
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, values)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def _client(self, name: str, *arguments: str, given: bytes | None = None) -> bytes:
        command = [binary(name), "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, *arguments]
        environment = os.environ | {"PGPASSWORD": self.password}
        done = subprocess.run(
            command, env=environment, input=given, capture_output=True, check=True
        )
        return done.stdout

    def _run(self, name: str, *arguments: str) -> None:
        self.data.mkdir(mode=0o700, exist_ok=True)
        if self._user:
            shutil.chown(self.data, self._user)
        subprocess.run(
            [binary(name), *arguments],
            cwd=self.data,
            user=self._user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )
