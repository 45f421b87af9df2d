"""How Java is started in the tests, and what it needs to talk with S3."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import tempfile
from pathlib import Path

_QUICK_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""For a JVM of half a minute: what better code takes to compile is never won back."""

_TRUST_STORE = Path("/etc/ssl/certs/java/cacerts")
"""The machine's own certificates: a Java that came by pip has others, a proxy needs these."""

_TRUST = f"-Djavax.net.ssl.trustStore={_TRUST_STORE}" if _TRUST_STORE.exists() else ""

OPTIONS = f"{_QUICK_START} {_TRUST}"

_S3A = ("*_hadoop-aws-*.jar", "*_aws-java-sdk-bundle-*.jar", "*_wildfly-openssl-*.jar")

_FETCH = """
from pyspark.sql import SparkSession
from spark_src.spark.session import s3_config, use_bundled_java
use_bundled_java()
packages = s3_config()["spark.jars.packages"]
SparkSession.builder.config("spark.jars.packages", packages).getOrCreate().stop()
"""


def s3a_jars() -> list[Path]:
    """S3A as Maven has it; fetched the first time, by one process, as Ivy keeps none other out."""
    with Path(tempfile.gettempdir(), "fruits-s3a.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if len(_found()) < len(_S3A):
            subprocess.run([sys.executable, "-c", _FETCH], check=True)
    return _found()


def _found() -> list[Path]:
    return [jar for name in _S3A for jar in (Path.home() / ".ivy2" / "jars").glob(name)]
