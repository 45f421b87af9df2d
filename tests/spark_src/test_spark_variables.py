"""Spark's environment variables, and the number of workers per machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spark_src.spark.machine import Machine, available_cores, available_memory, cpu_quota
from spark_src.spark.variables import is_utf8_locale, remove_foreign_variables

GIB = 2**30


@pytest.mark.parametrize(
    "name",
    [
        "SPARK_HOME",
        "SPARK_CONF_DIR",
        "SPARK_DIST_CLASSPATH",
        "PYSPARK_SUBMIT_ARGS",
        "PYSPARK_DRIVER_PYTHON_OPTS",
        "HADOOP_HOME",
        "HADOOP_CONF_DIR",
        "YARN_CONF_DIR",
        "HIVE_CONF_DIR",
        "CLASSPATH",
    ],
)
def test_variables_of_another_spark_are_removed_and_named(name: str) -> None:
    environment = {name: "/opt/other", "PATH": "/bin", "FRUITS_STORAGE": "data"}
    assert list(remove_foreign_variables(environment)) == [name]
    assert environment == {"PATH": "/bin", "FRUITS_STORAGE": "data"}


def test_java_properties_are_kept_and_other_java_options_removed() -> None:
    environment = {
        "JAVA_TOOL_OPTIONS": "-Dhttps.proxyHost=proxy -XX:+UseConcMarkSweepGC",
        "_JAVA_OPTIONS": "-Xmx64m",
        "JDK_JAVA_OPTIONS": "-Da=b",
    }
    found = list(remove_foreign_variables(environment))
    assert found == ["a part of JAVA_TOOL_OPTIONS", "a part of _JAVA_OPTIONS"]
    assert environment == {
        "JAVA_TOOL_OPTIONS": "-Dhttps.proxyHost=proxy",
        "JDK_JAVA_OPTIONS": "-Da=b",
    }


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ('-Dname="a b" -Xmx1g', '"-Dname=a b"'),
        ('"-Dname=it\'s" -Xmx1g', '"-Dname=it\'s"'),
        ("-Da=b -Dspark.master=yarn", "-Da=b"),
        ("-Da=b -Djava.io.tmpdir=/missing -Dfile.encoding=US-ASCII", "-Da=b"),
        ("-Dlog4j2.configurationFile=other.xml", None),
        ('-Da="unfinished', None),
    ],
)
def test_quoted_java_properties_are_kept_whole_and_those_of_other_programs_removed(
    given: str, kept: str | None
) -> None:
    environment = {"JAVA_TOOL_OPTIONS": given}
    assert list(remove_foreign_variables(environment)) == ["a part of JAVA_TOOL_OPTIONS"]
    assert environment.get("JAVA_TOOL_OPTIONS") == kept


@pytest.mark.parametrize(
    ("variables", "utf8"),
    [
        ({}, False),
        ({"LANG": "C"}, False),
        ({"LANG": "POSIX", "LC_CTYPE": "C.UTF-8"}, True),
        ({"LANG": "C.UTF-8", "LC_ALL": "C"}, False),
        ({"LC_ALL": "de_XX.UTF-8"}, False),  # not installed anywhere
        ({"LC_ALL": "C.utf8"}, True),
    ],
)
def test_a_utf_8_locale_must_be_installed(
    variables: dict[str, str], utf8: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_utf8_locale() is utf8


@pytest.mark.parametrize(
    ("cores", "gib", "workers", "heap_mib"),
    [
        (1, 0.5, 1, 700),
        (2, 2, 1, 700),
        (4, 3, 2, 1024),
        (8, 4, 2, 2048),
        (2, 16, 2, 2048),
        (64, 16, 22, 2048),
        (64, 256, 64, 2048),
    ],
)
def test_workers_follow_cores_and_memory(
    cores: int, gib: float, workers: int, heap_mib: int
) -> None:
    machine = Machine(cores, int(gib * GIB))
    assert (machine.workers, machine.driver_memory // 2**20) == (workers, heap_mib)


def test_only_cores_available_to_the_process_count() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, 8 * GIB),
        ({"memory.max": "max"}, 8 * GIB),
        ({"memory.max": str(2 * GIB)}, 2 * GIB),
        ({"memory/memory.limit_in_bytes": str(3 * GIB)}, 3 * GIB),
        ({"memory.max": str(2**62)}, 8 * GIB),
    ],
)
def test_the_containers_memory_limit_is_used_if_it_is_lower(
    limits: dict[str, str], expected: int, tmp_path: Path
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal:       {8 * 2**20} kB\nMemFree: 1 kB\n")
    for name, value in limits.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(value)
    assert available_memory(tmp_path, meminfo, tmp_path / "none") == expected


@pytest.mark.parametrize(
    ("groups", "file"),
    [
        ("0::/user.slice/fruits.service\n", "user.slice/fruits.service/memory.max"),
        ("0::/user.slice/fruits.service\n", "user.slice/memory.max"),
        ("3:cpu:/a\n4:memory:/b/c\n", "memory/b/c/memory.limit_in_bytes"),
    ],
)
def test_the_limit_of_the_processs_own_control_group_is_used(
    groups: str, file: str, tmp_path: Path
) -> None:
    own, meminfo = tmp_path / "groups", tmp_path / "meminfo"
    own.write_text(groups)
    meminfo.write_text(f"MemTotal:       {8 * 2**20} kB\n")
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(str(GIB))
    assert available_memory(tmp_path, meminfo, own) == GIB


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "250000 100000"}, 2),
        ({"a/cpu.max": "50000 100000", "cpu.max": "max 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
    ],
)
def test_the_cpu_quota_of_a_container_or_service_is_used(
    files: dict[str, str], cores: int | None, tmp_path: Path
) -> None:
    own = tmp_path / "groups"
    own.write_text("0::/a\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_quota(tmp_path, own) == cores
