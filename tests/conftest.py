"""Shared fixtures: one Spark session, the real sample, the model, its features."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from moto.server import ThreadedMotoServer
from pyspark.sql import SparkSession

from fruits_assets.emr import code_package
from spark_src.features.model import MobilenetModel, bundled
from spark_src.io.aws import client, reset_clients
from spark_src.io.locations import Location
from spark_src.spark.session import local_config, use_bundled_java
from spark_src.tables.delta import Snapshot, Tables
from tests import java
from tests.cluster_env import unpacked_env
from tests.moto_patches import find_backends_once, make_writes_atomic
from tests.pipeline import featurize, ingest, tables_in

REPOSITORY = Path(__file__).resolve().parents[1]

SCRATCH = {name: os.environ.get(name) for name in ("TMPDIR", "SPARK_LOCAL_DIRS")}
"""Folders for temporary files before any test."""

os.environ["SPARK_SUBMIT_OPTS"] = java.OPTIONS  # of all Spark sessions and started commands
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # each core runs one test process


SLOW_FOLDERS = ("browser", "host", "emr")

ANOTHER_S3 = os.environ.get("FRUITS_TEST_S3")


KINDS = ("fuzz", "integration", "state_machine")
"""Markers that a test or its module may set itself."""

FOLDERS = ("browser", "emr", "fuzz", "host", "infra", "state_machine")
"""Folders whose tests get a marker of the same name."""

SLOW_FIXTURES = frozenset({"aws_url", "environment", "fruits_360", "materialized", "run", "shared"})
"""Fixtures that start a server, build an environment or run the graph."""


SLOW_IMPORTS = frozenset({"CliRunner", "dg", "multiprocessing", "subprocess"})
"""Imports of modules whose tests start processes, commands, or Dagster."""

SLOW_IMPORT = re.compile(rf"^(import|from) .*\b({'|'.join(SLOW_IMPORTS)})$", re.MULTILINE)
"""The same in a module's source."""


@pytest.fixture(autouse=True)
def restore_scratch() -> Iterator[None]:
    """Undo `prepare`, which makes a storage's scratch the folder for all temporary files.

    Otherwise later tests would use a private folder with a long path: other users cannot enter it,
    and sockets cannot be created in it.
    """
    yield
    tempfile.tempdir = None
    for name, value in SCRATCH.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m unit`, skip modules without such tests: importing them would take longer."""
    if config.getoption("markexpr") != "unit":
        return None
    if collection_path.is_dir():
        return True if collection_path.name in FOLDERS else None
    is_module = collection_path.suffix == ".py" and collection_path.name != "conftest.py"
    return True if is_module and SLOW_IMPORT.search(collection_path.read_text()) else None


def kind_of(item: pytest.Item) -> str:
    """A test's marker, by folder, fixtures or its own; `unit` tests need only their process."""
    if item.path.parent.name in FOLDERS:
        return item.path.parent.name
    if own := next((name for name in KINDS if item.get_closest_marker(name)), None):
        return own
    fixtures = set(getattr(item, "fixturenames", ()))
    if fixtures & {"spark", "materialized", "run"}:
        return "spark"
    slow = fixtures & SLOW_FIXTURES or SLOW_IMPORTS & vars(getattr(item, "module", None)).keys()
    return "integration" if slow else "unit"


def group_of(item: pytest.Item) -> str:
    """The group of tests that run in the same process: by expensive fixture or file."""
    names = getattr(item, "fixturenames", ())
    if "spark" in names:
        return f"spark of {item.path.relative_to(REPOSITORY / 'tests').parts[0]}"
    return "environment" if "environment" in names else item.path.stem


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Distribute the tests to processes, the longest groups first."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item)))
        item.add_marker(kind_of(item))
    items.sort(
        key=lambda item: (
            group_of(item) == item.path.stem,
            item.path.parent.name not in SLOW_FOLDERS,
        )
    )


@pytest.fixture(scope="session", autouse=True)
def read_migrations_once() -> Iterator[None]:
    """Keep Dagster's migrations, which Alembic reads (0.3 s) for each new database.

    In SQLite each run has its own database.
    """
    read, known = ScriptDirectory.from_config, dict[str | None, ScriptDirectory]()

    def read_once(config: Config) -> ScriptDirectory:
        location = config.get_main_option("script_location")
        if location not in known:
            known[location] = read(config)
        return known[location]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", staticmethod(read_once))
        yield


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The suite's only Spark session, with the settings of a local deployment."""
    use_bundled_java()
    builder = SparkSession.builder
    warehouse = tmp_path_factory.mktemp("warehouse")
    settings = local_config() | {"spark.sql.warehouse.dir": str(warehouse)}
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()


@pytest.fixture(scope="session")
def aws_url() -> Iterator[str]:
    """A server that speaks S3's and EMR's protocols: moto, in a thread of this process.

    FRUITS_TEST_S3 names another S3 on this machine, for tests of storage: docs/emr.md.
    """
    if ANOTHER_S3:
        yield ANOTHER_S3
        return
    server = ThreadedMotoServer(port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        make_writes_atomic(patch)
        find_backends_once(patch)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture
def aws(aws_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Use the moto server as AWS in this process, in eu-west-1."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws_url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "eu-west-1")
    reset_clients()
    yield aws_url
    reset_clients()


@pytest.fixture
def bucket(aws: str) -> str:  # noqa: ARG001
    """A new bucket in eu-west-1, not public and encrypted."""
    return new_bucket("eu-west-1")


def new_bucket(region: str, name: str | None = None) -> str:
    """Create a bucket like those of infra/ in that region."""
    name = name or f"fruits-{uuid.uuid4().hex[:12]}"
    s3 = client("s3", region)
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})
    if ANOTHER_S3:
        return name  # the tested one has neither of the attributes below
    closed = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    s3.put_public_access_block(
        Bucket=name, PublicAccessBlockConfiguration=dict.fromkeys(closed, True)
    )
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    return name


@pytest.fixture(scope="session")
def sample() -> Path:
    """The 240 real pictures that come with the project: two splits of three labels."""
    return REPOSITORY / "sample" / "fruits-360"


@pytest.fixture(scope="session")
def weights() -> Path:
    """The real ImageNet weights that come with the project."""
    return REPOSITORY / "weights" / "mobilenet_v2_1.0_224_no_top.h5"


@pytest.fixture(scope="session")
def mobilenet(weights: Path) -> MobilenetModel:
    """The real model, as the assets use it."""
    model = bundled(weights.parent, Location.parse(str(weights)))
    assert model is not None
    return model


@pytest.fixture(scope="session")
def sample_tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Storage of the sample's pictures and features. Read-only."""
    return tables_in(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="session")
def sample_raw(spark: SparkSession, sample: Path, sample_tables: Tables) -> Snapshot:
    """The sample ingested: a version of `raw_images`."""
    return ingest(spark, sample_tables, sample).raw


@pytest.fixture(scope="session")
def sample_images(sample_raw: Snapshot) -> Location:
    """The sample ingested: a Parquet folder with the columns of `raw_images`."""
    return sample_raw.location


@pytest.fixture(scope="session")
def sample_version(
    spark: SparkSession, sample_tables: Tables, sample_raw: Snapshot, mobilenet: MobilenetModel
) -> Snapshot:
    """The sample's features: a version of `mobilenet_features`."""
    return featurize(spark, sample_tables, sample_raw, mobilenet)[1]


@pytest.fixture(scope="session")
def sample_features(sample_version: Snapshot) -> Location:
    """The sample's features: a Parquet folder with the columns of `mobilenet_features`."""
    return sample_version.location


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cluster's packed environment, unpacked. Read-only."""
    target = unpacked_env(tmp_path_factory.mktemp("node"))
    yield target
    shutil.rmtree(target)  # pytest keeps the folders of three runs


@pytest.fixture(scope="session")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's code as deployed to the cluster."""
    package = code_package.build()
    file = tmp_path_factory.mktemp("code") / package.name
    file.write_bytes(package.content)
    return file


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of larger data next to the checkout; tests are skipped without it."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("There is no folder `shared` beside the checkout.")
    return folder


@pytest.fixture(scope="session")
def fruits_360(shared: Path) -> Path:
    """5,360 real pictures of 67 varieties; tests that need them are skipped without them."""
    folder = shared / "data" / "fruits-360"
    if not folder.is_dir():
        pytest.skip("There is no folder `data/fruits-360` in the shared data.")
    return folder
