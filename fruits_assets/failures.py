"""Converts known errors of assets to `dg.Failure` with a one-line message and its remedy."""

from __future__ import annotations

import errno
import functools
import inspect
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from fruits_assets.dagster_internals import DagsterExecutionInterruptedError
from fruits_assets.settings import did_you_mean, load_settings
from spark_src.contract import PREFIXES
from spark_src.errors import FruitsError, SettingsError

TRACEBACK = "FRUITS_TRACEBACK"
"""If set, failures keep the full chain of exceptions."""

INGEST = "ingest"
"""The op that materializes `raw_images` and `rejected_images`."""

OPS = (INGEST, *(name for name in PREFIXES if name not in ("raw_images", "rejected_images")))
"""All ops of assets, as named in the run config."""

UNEXPECTED = "This error is unexpected"

_FULL = "No space left on device"

AssetFunction = TypeVar("AssetFunction", bound=Callable[..., Any])


def one_sentence(function: AssetFunction) -> AssetFunction:
    """Turn known errors of an asset into a `dg.Failure`, and interrupted runs into cancelled ones.

    Apply it directly to the function, so that Dagster sees the function's arguments.
    """
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generate(context: Any, **inputs: Any) -> Iterator[Any]:
            with failures(context):
                _require_known_ops(context)
                yield from function(context, **inputs)

        return generate  # type: ignore[return-value]

    @functools.wraps(function)
    def call(context: Any, **inputs: Any) -> Any:
        with failures(context):
            _require_known_ops(context)
            return function(context, **inputs)

    return call  # type: ignore[return-value]


@contextmanager
def failures(context: Any) -> Iterator[None]:
    """Inside the block, a known error becomes a `dg.Failure` without a traceback."""
    try:
        yield
    except (KeyboardInterrupt, DagsterExecutionInterruptedError, Exception) as error:
        if interruption := _interruption_of(error):
            instance = getattr(context, "step_context", context).instance
            request_cancellation(instance, context.run.run_id)
            raise interruption from None
        if isinstance(error, FruitsError):
            sentence = str(error)
        elif is_disk_full(error):
            sentence = disk_full(error)
        else:
            raise
        failure = _failure(sentence, error)
        raise failure from (error if os.environ.get(TRACEBACK) else None)


def _interruption_of(error: BaseException) -> BaseException | None:
    """The interruption that caused the error, if any.

    After an interrupted call, Py4J reads the response of that call as the response of the next one,
    which may be in a `finally` of PySpark: its error would replace the interruption.
    """
    interruptions = (KeyboardInterrupt, DagsterExecutionInterruptedError)
    return next((cause for cause in _chain(error) if isinstance(cause, interruptions)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, its cause, the cause's cause, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _require_known_ops(context: Any) -> None:
    """Refuse config of unknown ops, which Dagster would silently ignore.

    Raises:
        SettingsError: an op does not exist; the message suggests the closest name.
    """
    for name in context.run.run_config.get("ops", {}):
        if name not in OPS:
            raise SettingsError(
                f"The run config sets ops.{name}, but there is no such op: "
                f"{did_you_mean(name, OPS)} Correct the name; nothing was materialized."
            )


def request_cancellation(instance: dg.DagsterInstance, run_id: str) -> None:
    """Request cancellation, without which Dagster marks an interrupted run as failed."""
    run = instance.get_run_by_id(run_id)
    requested = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)
    if run is not None and not run.is_finished and run.status not in requested:
        instance.report_run_canceling(run)


def _failure(sentence: str, error: BaseException) -> dg.Failure:
    details = error.details if isinstance(error, FruitsError) else {}
    shown = {name: _metadata_value(value) for name, value in details.items()}
    return dg.Failure(sentence, {"error": type(error).__name__, **shown}, allow_retries=False)


def _metadata_value(value: object) -> dg.MetadataValue[Any]:
    if isinstance(value, Mapping):
        rows = [dg.TableRecord({"name": name, "count": count}) for name, count in value.items()]
        return dg.MetadataValue.table(rows)
    return dg.MetadataValue.text(str(value))


def is_disk_full(error: BaseException | None) -> bool:
    """Whether the operating system, Arrow or Spark reported that the disk is full."""
    return any(
        (isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT))
        or _FULL in str(cause)
        for cause in _chain(error)
    )


def disk_full(error: BaseException) -> str:
    """The error message: which disk, its free space, and the remedy."""
    storage = load_settings().storage_location
    path = getattr(error, "filename", None) or storage.path
    if storage.scheme != "file" and path == storage.path:
        return "The disk of this machine is full: free some space and start the run again."
    folder = str(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    free = shutil.disk_usage(folder).free / 1e6
    return (
        f"The disk of {path} is full ({free:,.0f} MB are free). `uv run fruits doctor` estimates "
        "how much space the pictures need. Free some space, or set FRUITS_STORAGE to a folder on a "
        "larger disk, and start the run again. Finished work is kept."
    )


def sentence_of(error: SerializableErrorInfo | None) -> str:
    """The reason of a recorded error: the first known error among its causes, else the last cause.

    A known error is returned without its class name.
    """
    if error is None:
        return "no reason given"
    while error.cause is not None and not _is_known(error):
        error = error.cause
    first = error.message.strip()
    name, separator, rest = first.partition(": ")
    if not separator or " " in name:
        return first
    if _is_known(error) or name.startswith("dagster."):
        return rest
    return f"{first} {UNEXPECTED}: the run's page in `uv run dagster dev` shows its traceback."


def _is_known(error: SerializableErrorInfo) -> bool:
    name = error.message.strip().partition(": ")[0]
    return name.startswith("spark_src.errors.") or name.endswith(".Failure")
