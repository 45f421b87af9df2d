"""Simulates processes that are killed during their n-th file operation. No tests here.

From that operation on, the process cannot access files, and the operation itself is left half done.
delta-rs works outside Python, so the files that a kill inside it leaves behind are created here;
they were determined with `strace`.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from pyarrow import fs

from spark_src.io.locations import Location
from spark_src.tables import write


class Crash(BaseException):
    """The process was killed. Not caught by `except Exception`."""


class Process:
    """A simulated process whose file operations are counted.

    Args:
        dies_at: number of the operation in which it is killed; None: it survives.
    """

    def __init__(self, dies_at: int | None = None) -> None:
        self.dies_at = dies_at
        self.operations = 0

    def step(self, half_done: Callable[[], object] = lambda: None) -> None:
        """Count an operation; the process may be killed in it and leave it half done."""
        self.operations += 1
        if self.dies_at is None or self.operations < self.dies_at:
            return
        if self.operations == self.dies_at:
            half_done()
        raise Crash


class Operations:
    """Operations that change files, in the process that is currently running."""

    def __init__(self) -> None:
        self.process = Process()

    def run(self, dies_at: int | None, work: Callable[[], object]) -> bool:
        """Do the work in a new process; return whether it completed."""
        self.process = Process(dies_at)
        try:
            work()
        except Crash:
            return False
        finally:
            self.process = Process()
        return True


class _Files:
    """pyarrow's local file system, with counted operations."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._real = fs.LocalFileSystem()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def delete_file(self, path: str) -> None:
        self._operations.process.step()
        self._real.delete_file(path)

    def delete_dir(self, path: str) -> None:
        for info in self._real.get_file_info(fs.FileSelector(path, recursive=True)):
            if info.type == fs.FileType.File:
                self.delete_file(info.path)
        self._operations.process.step()
        self._real.delete_dir(path)

    def create_dir(self, path: str, recursive: bool = True) -> None:
        self._operations.process.step()
        self._real.create_dir(path, recursive=recursive)

    def move(self, source: str, target: str) -> None:
        self._operations.process.step()
        self._real.move(source, target)

    def open_output_stream(self, path: str) -> Any:
        self._operations.process.step(lambda: Path(path).touch())
        return self._real.open_output_stream(path)


@contextmanager
def crashing_operations() -> Iterator[Operations]:
    """Count all file operations inside the block; names of new files are deterministic."""
    operations = Operations()
    numbers = count()
    namespace = uuid.UUID(int=0)
    changes: list[tuple[Any, str, Any]] = [
        (Path, "write_bytes", _write_bytes(operations)),
        (Location, "filesystem", property(lambda _: _Files(operations))),
        (write, "create_table_with_add_actions", _create(operations)),
        (DeltaTable, "create_write_transaction", _commit(operations)),
        (DeltaTable, "vacuum", _vacuum(operations)),
        (DeltaTable, "create_checkpoint", _checkpoint(operations)),
        (uuid, "uuid4", lambda: uuid.uuid5(namespace, str(next(numbers)))),
    ]
    names = ("replace", "unlink", "rename", "rmdir", "mkdir")
    changes += [(os, name, _counted(operations, getattr(os, name))) for name in names]
    kept = [(owner, name, owner.__dict__[name]) for owner, name, _ in changes]
    for owner, name, value in changes:
        setattr(owner, name, value)
    try:
        yield operations
    finally:
        for owner, name, value in kept:
            setattr(owner, name, value)


def _counted(operations: Operations, real: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*arguments: Any, **named: Any) -> Any:
        operations.process.step()
        return real(*arguments, **named)

    return counted


def _write_bytes(operations: Operations) -> Callable[[Path, bytes], int]:
    real = Path.write_bytes

    def write_bytes(path: Path, content: bytes) -> int:
        operations.process.step(lambda: real(path, bytes(content)[: len(content) // 2]))
        return real(path, content)

    return write_bytes


def _leave_half(log: Path, name: str) -> None:
    """Write a partial temporary file of delta-rs, which it would rename at the end."""
    log.mkdir(parents=True, exist_ok=True)
    with (log / f"{name}#1").open("wb") as stream:
        stream.write(b'{"commitInfo":{"timest')


def _create(operations: Operations) -> Callable[..., None]:
    real = write.create_table_with_add_actions

    def create(table_uri: str, *arguments: Any, **named: Any) -> None:
        operations.process.step(lambda: _leave_half(Path(table_uri, "_delta_log"), f"{0:020}.json"))
        real(table_uri, *arguments, **named)
        operations.process.step()

    return create


def _commit(operations: Operations) -> Callable[..., None]:
    real = DeltaTable.create_write_transaction

    def commit(table: DeltaTable, *arguments: Any, **named: Any) -> None:
        log = _folder(table) / "_delta_log"
        operations.process.step(lambda: _leave_half(log, f"{table.version() + 1:020}.json"))
        real(table, *arguments, **named)
        operations.process.step()

    return commit


def _vacuum(operations: Operations) -> Callable[..., list[str]]:
    real = DeltaTable.vacuum

    def vacuum(table: DeltaTable, *, dry_run: bool, **named: Any) -> list[str]:
        process = operations.process
        if process.dies_at is None:
            return real(table, dry_run=dry_run, **named)
        process.step()  # it records its start in the log
        for name in sorted(real(table, dry_run=True, **named)):
            process.step()
            with suppress(FileNotFoundError):  # an earlier vacuum deleted it
                _UNLINK(_folder(table) / name)
        process.step()
        return real(table, dry_run=dry_run, **named)

    return vacuum


def _checkpoint(operations: Operations) -> Callable[[DeltaTable], None]:
    real = DeltaTable.create_checkpoint

    def checkpoint(table: DeltaTable) -> None:
        log = _folder(table) / "_delta_log"
        hint = log / "_last_checkpoint"
        before = hint.read_bytes() if hint.exists() else None

        def without_hint() -> None:
            if before is None:
                _UNLINK(hint)
            else:
                with hint.open("wb") as stream:
                    stream.write(before)

        name = f"{table.version():020}.checkpoint.parquet"
        operations.process.step(lambda: _leave_half(log, name))
        real(table)
        operations.process.step(without_hint)

    return checkpoint


def _folder(table: DeltaTable) -> Path:
    return Path(Location.parse(table.table_uri).path)


_UNLINK = os.unlink
