"""Steps on a real YARN: the code of the assets, with executors that are added, killed and replaced.

`uv run pytest -m yarn` runs the sample with an executor killed, and counts tasks and executors.
`uv run pytest -m yarn_whole` runs the whole graph, with an executor and then a node manager killed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fruits_assets.emr import code_package, submission
from fruits_assets.emr.launcher import launched_spark_config
from fruits_assets.emr.step_definition import StepDefinition
from fruits_assets.emr.step_logs import ExecutorWarnings, explain_failure
from fruits_assets.emr.submission import MAIN, SPARK_SUBMIT, StepFiles
from spark_src.features.inference import Engine
from spark_src.features.model import MobilenetModel
from spark_src.images.preprocess import model_input
from spark_src.images.validate import DEFAULT_LIMITS, clean_picture
from spark_src.pca.model import Sums, fit_sums
from spark_src.tables.reading import read_table
from tests.emr import yarn as yarn_module
from tests.emr.conftest import Account, AddStep, run_steps
from tests.emr.documented_emr import EmrRules
from tests.emr.emulated_cluster import REGION, EmulatedCluster, start_cluster
from tests.emr.yarn import Yarn, wait_for

NAME = "fruits-yarn"
FEATURES = "raw_images,rejected_images,mobilenet_model,mobilenet_features"
PROGRAM = Path(__file__).with_name("allocation.py")

HANGS = 1800
"""Seconds after which a test that still waits has failed, also on a busy machine."""


@pytest.fixture(scope="module")
def yarn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yarn]:
    with yarn_module.running(tmp_path_factory.mktemp("yarn")) as running:
        yield running


@pytest.fixture(scope="module")
def yarn_account(
    aws_url: str,
    input_bucket: str,
    emr: EmrRules,
    environment: Path,
    yarn: Yarn,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Account]:
    """An account whose cluster runs its steps on YARN."""
    folder = tmp_path_factory.mktemp("yarn-cluster")
    start_cluster(NAME, f"s3://{input_bucket}/logs/")
    nodes = EmulatedCluster(
        NAME,
        aws_url,
        environment,
        folder / "steps",
        master="yarn",
        defaults=yarn.spark_defaults(),
        variables={"HADOOP_CONF_DIR": str(yarn.conf), "YARN_CONF_DIR": str(yarn.conf)},
    )
    with run_steps(nodes, emr):
        yield Account(aws_url, input_bucket, nodes, emr, folder, NAME, f"yarn-{folder.name}")


@pytest.fixture
def account(yarn_account: Account) -> Account:
    """The account that `add_step` uses."""
    return yarn_account


def materialize(
    account: Account, select: str, disturb: Callable[[], object] | None = None, step: int = 0
) -> tuple[str, float]:
    """Run assets and call `disturb` during the step of that number. Returns the log and seconds."""
    before, started = set(account.cluster.begun), time.monotonic()
    done: list[subprocess.CompletedProcess[str]] = []
    command = ("dagster", "asset", "materialize", "--select", select)
    run = threading.Thread(target=lambda: done.append(account.run(*command)))
    run.start()
    if disturb is not None:
        wait_for(
            lambda: done or len(account.cluster.begun - before) > step,
            HANGS,
            "the step's beginning",
        )
        assert not done, done[0].stderr[-6000:]
        disturb()
    run.join()
    assert done[0].returncode == 0, done[0].stderr[-8000:]
    return done[0].stderr, time.monotonic() - started


def rows_of(account: Account, asset: str) -> list[dict[str, Any]]:
    return list(read_table(account.tables, asset).sort_by("path").to_pylist())


def require_features_of_one_machine(
    account: Account, sample: Path, mobilenet: MobilenetModel
) -> np.ndarray[Any, Any]:
    """Require that the features are bit-identical to those of this machine, and return them."""
    rows = rows_of(account, "mobilenet_features")
    files = sorted(file.relative_to(sample).as_posix() for file in sample.rglob("*.jpg"))
    assert [row["path"] for row in rows] == files
    pictures = [clean_picture((sample / row["path"]).read_bytes(), DEFAULT_LIMITS) for row in rows]
    pixels = [model_input(picture.content, picture.orientation) for picture in pictures]
    here = Engine(mobilenet.content).features(np.stack(pixels))
    on_cluster = np.array([row["features"] for row in rows], np.float32)
    np.testing.assert_array_equal(on_cluster, here)
    return here


def kill_a_busy_executor(yarn: Yarn) -> Callable[[], object]:
    """Kill an executor whose Python worker has been running for a moment."""

    def kill() -> None:
        wait_for(yarn.executors, HANGS, "an executor")
        time.sleep(4)
        yarn.kill_executor()

    return kill


@pytest.mark.yarn
def test_the_number_of_tasks_depends_on_the_data_and_not_on_the_initial_cores(
    yarn_account: Account, add_step: AddStep, code: Path
) -> None:
    python = "/opt/fruits/env/bin/python"
    conf = [f"spark.pyspark.python={python}", f"spark.pyspark.driver.python={python}"]
    settings = [part for setting in conf for part in ("--conf", setting)]
    command = [SPARK_SUBMIT, "--master", "yarn", *settings, "--py-files", str(code), str(PROGRAM)]
    _, step_id = add_step(command)
    yarn_account.cluster.wait_for_end(step_id)
    output = yarn_account.cluster.output(step_id)
    assert yarn_account.cluster.state(step_id) == "COMPLETED", output[-6000:]
    found = json.loads(next(line for line in output.splitlines() if line.startswith('{"default')))
    print(f"\n24 seconds of work: {found}", file=sys.stderr)  # noqa: T201 - for the CI log
    assert found["defaultParallelism at the start"] == 2
    assert found["tasks"] == 24
    assert found["executors"] == found["cores"] == yarn_module.MAX_EXECUTORS


@pytest.mark.yarn
def test_features_are_bit_identical_after_an_executor_was_killed(
    yarn_account: Account, yarn: Yarn, sample: Path, mobilenet: MobilenetModel
) -> None:
    log, seconds = materialize(yarn_account, FEATURES, kill_a_busy_executor(yarn), step=1)
    print(f"\ningest and features, an executor killed: {seconds:.0f} s", file=sys.stderr)  # noqa: T201 - for the CI log
    assert "Spark on the cluster" in log and "Container from a bad node" in log
    assert log.count("is COMPLETED") == 2
    require_features_of_one_machine(yarn_account, sample, mobilenet)


@pytest.mark.yarn
def test_the_run_reports_why_no_executor_starts(yarn_account: Account, add_step: AddStep) -> None:
    files = StepFiles(yarn_account.tables.root / "staging" / "no-executor")
    step = submission.step_config(
        "no executor",
        files,
        submission.put_definition(files, StepDefinition({}, "{}"), REGION),
        code_package.push(yarn_account.tables.root / "staging" / "code", REGION),
        code_package.build(),
        REGION,
        launched_spark_config({}, REGION)
        | {"spark.executor.maxNumFailures": "3", "spark.executor.extraJavaOptions": "-Xss1k"},
    )
    arguments = [
        word.replace(f"{{files}}/{MAIN}", str(PROGRAM)) for word in step["HadoopJarStep"]["Args"]
    ]
    cluster_id, step_id = add_step(arguments)
    warnings = ExecutorWarnings(files, REGION)
    yarn_account.cluster.wait_for_end(step_id)
    state = submission.describe_step(cluster_id, step_id, REGION)
    assert state.state == "FAILED"
    assert any("Container from a bad node" in line for line in warnings.new())
    reason = explain_failure(files, "", state, REGION, pytest.fail)
    assert "Max number of executor failures (3) reached" in reason


@pytest.mark.yarn_whole
def test_the_whole_graph_equals_that_of_one_machine_after_a_node_manager_stopped(
    yarn_account: Account, yarn: Yarn, sample: Path, mobilenet: MobilenetModel
) -> None:
    def end_a_node() -> None:
        wait_for(yarn.executors, HANGS, "an executor")
        time.sleep(4)
        yarn.kill_node_with_an_executor()

    account = yarn_account
    log, seconds = materialize(account, "*", end_a_node, step=1)
    print(f"\nwhole graph, a node manager ended: {seconds:.0f} s", file=sys.stderr)  # noqa: T201 - as above
    assert log.count("is COMPLETED") == 5
    here = require_features_of_one_machine(account, sample, mobilenet)
    training = here[[row["split"] == "Training" for row in rows_of(account, "mobilenet_features")]]
    pca = fit_sums(Sums.from_features(training), 50, mobilenet.sha256)
    projected = pca.project(here).astype(np.float32)  # as stored
    components = np.array([row["pca"] for row in rows_of(account, "pca_components")], np.float32)
    print(f"components: {np.abs(components - projected).max():.1e}", file=sys.stderr)  # noqa: T201 - as above
    # The last digit of a 32-bit float depends on how many images are projected together.
    np.testing.assert_allclose(components, projected, rtol=1e-7, atol=1e-7)
