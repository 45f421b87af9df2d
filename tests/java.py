"""JVM options of the tests, and the jars for S3 access."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from spark_src.spark.session import s3_config

QUICK_START = (
    "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC "
    "-XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"
)
"""For short-lived JVMs: no optimising compilation, and no verification of Spark's classes."""

_TRUST_STORE = Path("/etc/ssl/certs/java/cacerts")
"""The machine's certificates, needed behind a proxy: Java from pip has its own."""

_TRUST = f"-Djavax.net.ssl.trustStore={_TRUST_STORE}" if _TRUST_STORE.exists() else ""

OPTIONS = f"{QUICK_START} {_TRUST}"

_S3A = ("*_hadoop-aws-*.jar", "*_aws-java-sdk-bundle-*.jar", "*_wildfly-openssl-*.jar")

_YARN = (
    "org.apache.hadoop:hadoop-client-minicluster:3.3.4",
    "org.bouncycastle:bcpkix-jdk15on:1.60",
    "org.mockito:mockito-core:3.12.4",
)
"""YARN's servers in one jar with their dependencies; 46 MB. Spark has the rest."""

_YARN_CACHE = Path(__file__).resolve().parents[1] / ".cache" / "yarn"

_FETCH = """
import sys
from pyspark.sql import SparkSession
from spark_src.spark.session import use_bundled_java
use_bundled_java()
builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
for setting in sys.argv[1:]:
    builder = builder.config(*setting.split("=", 1))
builder.getOrCreate().stop()
"""


def s3a_jars() -> list[Path]:
    """S3A from Maven, downloaded once and by one process, because Ivy does not lock its cache."""
    folder = Path.home() / ".ivy2"

    def is_there() -> bool:
        return len(_find_jars(folder, _S3A)) == len(_S3A)

    _fetch("s3a", is_there, s3_config()["spark.jars.packages"])
    return _find_jars(folder, _S3A)


def yarn_jars() -> list[Path]:
    """Hadoop's YARN from Maven, downloaded once to .cache."""
    excluded = "org.apache.hadoop:hadoop-client-api,org.apache.hadoop:hadoop-client-runtime"

    def is_there() -> bool:
        return bool(_find_jars(_YARN_CACHE, ["*_hadoop-client-minicluster-*.jar"]))

    _fetch(
        "yarn",
        is_there,
        ",".join(_YARN),
        f"spark.jars.ivy={_YARN_CACHE}",
        f"spark.jars.excludes={excluded}",
    )
    return _find_jars(_YARN_CACHE, ["*.jar"])


def _fetch(name: str, is_there: Callable[[], bool], packages: str, *settings: str) -> None:
    with Path(tempfile.gettempdir(), f"fruits-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_there():
            wanted = [f"spark.jars.packages={packages}", *settings]
            subprocess.run([sys.executable, "-c", _FETCH, *wanted], check=True)


def _find_jars(folder: Path, names: Sequence[str]) -> list[Path]:
    return [jar for name in names for jar in sorted((folder / "jars").glob(name))]
