"""Ingests from S3 with and without added latency, to show whether latency limits it.

Run: uv run python -m benchmarks.s3_latency [--images FOLDER] [--count N] [--delay MS]
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import threading
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

import boto3
from moto.server import ThreadedMotoServer

from benchmarks._common import picture_files, seconds_of, show, start_spark
from spark_src.images.listing import Listing, list_files
from spark_src.images.plan import plan_ingest
from spark_src.images.refresh import read_new
from spark_src.images.rejection import Limits
from spark_src.io.aws import use_region
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables

BUCKET = "latency"
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}


class DelayedServer(ThreadingHTTPServer):
    """Forwards requests to another local server after a delay."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, upstream: int) -> None:
        super().__init__(("127.0.0.1", 0), _Delayed)
        self.upstream = upstream
        self.delay = 0.0
        """Seconds before each request is forwarded."""


class _Delayed(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: DelayedServer

    def _forward(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        time.sleep(self.server.delay)
        connection = HTTPConnection("127.0.0.1", self.server.upstream)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        size = answer.getheader("Content-Length") if self.command == "HEAD" else len(content)
        self.send_header("Content-Length", str(size or 0))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        connection.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - parameter name of the base class
        """Log nothing."""


def main() -> None:
    """Read the same bucket with and without the delay, and print seconds and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", help="a folder of JPEG files; the sample by default")
    parser.add_argument("--count", type=int, default=1_340)
    parser.add_argument("--delay", type=float, default=30, help="milliseconds")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer("127.0.0.1", 0)
    moto.start()
    server = DelayedServer(moto.get_host_and_port()[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
    }
    use_region("eu-west-1")
    _upload(picture_files(options.images), options.count)
    listing = list_files(Location.parse(f"s3://{BUCKET}/input"))
    spark = start_spark()
    seconds: dict[float, list[float]] = {0: [], options.delay / 1000: []}
    with tempfile.TemporaryDirectory() as folder:
        _ingest(spark, listing, Path(folder) / "warm")
        for number in range(options.rounds):
            for delay, taken in seconds.items():
                server.delay = delay
                target = Path(folder) / f"{number}-{delay}"
                taken.append(seconds_of(lambda at=target: _ingest(spark, listing, at)))  # type: ignore[misc]
    without, with_delay = (median(taken) for taken in seconds.values())
    show(
        f"ingest of {options.count:,} pictures from S3, median of {options.rounds} rounds",
        ("delay per request", "s", "ratio"),
        [
            ("0 ms", f"{without:.2f}", "1.00"),
            (f"{options.delay:g} ms", f"{with_delay:.2f}", f"{with_delay / without:.2f}"),
        ],
    )


def _upload(files: list[Path], count: int) -> None:
    s3 = boto3.client("s3", region_name="eu-west-1")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for number in range(count):
        content = files[number % len(files)].read_bytes()
        s3.put_object(Bucket=BUCKET, Key=f"input/Training/Apple/{number:06}.jpg", Body=content)


def _ingest(spark: object, listing: Listing, folder: Path) -> None:
    write = Tables(Location.parse(str(folder))).begin("raw_images", "benchmark")
    plan = plan_ingest(listing, Limits(), None, None)
    result = read_new(lambda: spark, plan, write, lambda: spark.sparkContext.accumulator(0))  # type: ignore[attr-defined,return-value,arg-type]
    rows = sum(batch.written.rows for batch in result.ingested if batch.written)
    if rows != listing.n_pictures:
        raise SystemExit(f"{rows} of {listing.n_pictures} pictures were read")


if __name__ == "__main__":
    main()
