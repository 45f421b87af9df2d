"""What the assets work with. Each checks itself when a run starts, before Spark does."""

import os
import uuid
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pyspark import Accumulator

from fruits_assets.emr.step import is_remote
from fruits_assets.notifications import InputQueue
from spark_src.errors import ClusterError
from spark_src.features.model import weights_alpha
from spark_src.images.listing import Listing, list_files, require_some_file
from spark_src.images.rejection import Limits
from spark_src.io.aws import configured_region
from spark_src.io.locations import Location
from spark_src.io.residency import Finding, inspect_buckets, require_in_region
from spark_src.spark import cores
from spark_src.spark.progress import FileCounter
from spark_src.spark.scratch import make_scratch
from spark_src.spark.session import start_local
from spark_src.tables.delta import Tables

Launcher = dg.ResourceParam[Any]
"""An asset that takes it runs on the cluster where there is one: Dagster looks for launchers."""


class LocalSpark(LazyPySparkResource):
    """Spark in this process, started when it is first used, with the Java that came by pip."""

    scratch: str
    """Folder for what Spark spills."""

    def _init_session(self) -> None:
        if self._spark_session is None:
            scratch = make_scratch(Path(self.scratch))
            self._spark_session = start_local(self.spark_config, scratch)


class ClusterSpark(LazyPySparkResource):
    """The cluster's Spark, in a step that spark-submit started there; on the host there is none."""

    def _init_session(self) -> None:
        if not is_remote():
            raise ClusterError(
                "FRUITS_DEPLOYMENT=emr starts no Spark on this machine: only steps on the cluster "
                "have one. Unset FRUITS_DEPLOYMENT to work here."
            )
        super()._init_session()


def picture_counter(pyspark: LazyPySparkResource) -> Accumulator[int]:
    """A counter for the work of Spark, which is started: by picture where it is on this machine."""
    context = pyspark.spark_context
    folder = os.environ.get("SPARK_LOCAL_DIRS")
    if folder is None or not context.master.startswith("local["):
        return context.accumulator(0)  # type: ignore[no-any-return]
    counter = FileCounter(str(Path(folder) / f"count-{uuid.uuid4().hex}"))
    return cast("Accumulator[int]", counter)  # `add` and `value` are all that is used


def count_cores(pyspark: LazyPySparkResource) -> int:
    """How many cores Spark worked with; 1 where nothing has started it."""
    if pyspark._spark_session is None:
        return 1
    return cores.count_cores(pyspark.spark_context)


class AssetStorage(dg.ConfigurableResource[Any]):
    """Where the assets lie. A run fails at once where its bucket is not fit for data."""

    root: str
    show_photos: bool = False
    """Whether metadata may show what can be a person's: Dagster keeps it, also after an erasure."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        require_in_region([self.tables.root])

    @cached_property
    def tables(self) -> Tables:
        """The tables under the root."""
        return Tables(Location.parse(self.root))


class InputFolder(dg.ConfigurableResource[Any]):
    """The folder of pictures, whatever is in it: the sensor and the erase job work with it."""

    uri: str
    queue_url: str | None = None
    """URL of the SQS queue to which S3 announces what comes and goes."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        require_in_region([self.root])

    @property
    def root(self) -> Location:
        """The folder."""
        return Location.parse(self.uri)

    @cached_property
    def queue(self) -> InputQueue | None:
        """Its queue; None where there is none, or where the folder is on this machine."""
        if self.queue_url and self.root.scheme == "s3":
            return InputQueue(self.queue_url, configured_region())
        return None

    def listing(self) -> Listing:
        """Everything in it, listed now."""
        return list_files(self.root)


class PictureSource(InputFolder):
    """The folder of pictures to ingest. A run fails at once where it is missing or empty."""

    max_side: int = Limits.max_side
    """Larger pictures are kept at a smaller scale."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        super().setup_for_execution(context)
        require_some_file(self.root)


class ModelWeights(dg.ConfigurableResource[Location]):
    """The Keras weights' .h5 file. A run that needs it fails at once where it does not fit."""

    uri: str

    def create_resource(self, context: dg.InitResourceContext) -> Location:
        location = Location.parse(self.uri)
        require_in_region([location])
        weights_alpha(location)
        return location


class Residency(dg.ConfigurableResource[Any]):
    """Every location that a deployment reads or writes, to be inspected, not read."""

    uris: list[str]

    def findings(self) -> list[Finding]:
        """What their buckets are like; none where all are on this machine.

        Raises:
            AwsError: a bucket could not be inspected.
        """
        return inspect_buckets([Location.parse(uri) for uri in self.uris])
