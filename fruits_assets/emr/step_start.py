"""Starts a step on the primary node: fetches its files, verifies them, runs spark-submit.

This source is passed in the step's arguments, which only the EMR API can set, so nothing from S3
runs before its digest was verified. If spark-submit fails or warns, the end of its output is
uploaded next to the step's files immediately; EMR copies its own logs minutes later.
"""

import collections
import ctypes
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from typing import Any

import boto3


def main(manifest: Any, command: list[str]) -> int:
    s3 = boto3.client("s3", region_name=manifest["region"])
    os.umask(0o077)
    with tempfile.TemporaryDirectory(prefix="fruits-step-") as folder:
        for name, (key, digest) in manifest["files"].items():
            content = s3.get_object(Bucket=manifest["bucket"], Key=key)["Body"].read()
            if hashlib.sha256(content).hexdigest() != digest:
                sys.exit(
                    f"s3://{manifest['bucket']}/{key} was changed after the host uploaded it. It "
                    "was not run. Find out who can write there, then materialize again."
                )
            with open(os.path.join(folder, name), "wb") as file:
                file.write(content)
        with zipfile.ZipFile(os.path.join(folder, "code.zip")) as code:
            code.extract(manifest["main"], folder)
        command = [part.replace("{files}", folder) for part in command]
        return run(command, lambda lines: put(s3, manifest, lines))


def put(s3: Any, manifest: Any, lines: Iterable[bytes]) -> None:
    try:
        s3.put_object(Bucket=manifest["bucket"], Key=manifest["stderr"], Body=b"".join(lines))
    except Exception as error:
        print(f"The end of this log was not uploaded to S3: {error}", file=sys.stderr)


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def run(command: list[str], report: Callable[[Iterable[bytes]], None]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Spark's PythonRunner writes a Python program's errors to standard output.
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=die_with_parent,
    )
    lines, reported, warned = collections.deque[bytes](maxlen=400), 0.0, False
    try:
        for line in child.stdout or ():
            sys.stderr.buffer.write(line)
            sys.stderr.flush()
            if b" INFO " in line or b" DEBUG " in line:
                continue
            lines.append(line[:2000])
            warned |= b" WARN " in line or b" ERROR " in line
            if warned and time.monotonic() - reported > 10:
                report(lines)
                reported, warned = time.monotonic(), False
        code = child.wait()
    finally:
        child.terminate()
    if code or warned:
        report(lines)
    return code


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1]), sys.argv[2:]))
