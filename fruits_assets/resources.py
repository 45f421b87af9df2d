"""Resources of the assets. They are validated when a run starts, before Spark starts."""

import os
import uuid
from functools import cached_property
from pathlib import Path
from typing import cast

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
from spark_src.pca.refit import N_COMPONENTS
from spark_src.spark import cores
from spark_src.spark.progress import FileCounter
from spark_src.spark.scratch import make_scratch
from spark_src.spark.session import start_local
from spark_src.tables.delta import Tables

Launcher = dg.ResourceParam[dg.StepLauncher | None]
"""Assets that take it run on the cluster, if there is one: Dagster looks for step launchers."""


class LocalSpark(LazyPySparkResource):
    """Local Spark, started on first use, with the Java runtime installed by pip."""

    scratch: str
    """Folder for Spark's spill files."""

    def _init_session(self) -> None:
        if self._spark_session is None:
            scratch = make_scratch(Path(self.scratch))
            self._spark_session = start_local(self.spark_config, scratch)


class ClusterSpark(LazyPySparkResource):
    """The cluster's Spark, available only in steps that spark-submit started there."""

    def _init_session(self) -> None:
        if not is_remote():
            raise ClusterError(
                "With FRUITS_DEPLOYMENT=emr, Spark runs only in steps on the cluster, not on this "
                "machine. Unset FRUITS_DEPLOYMENT to run Spark locally."
            )
        super()._init_session()


def picture_counter(pyspark: LazyPySparkResource) -> Accumulator[int]:
    """A counter of processed pictures: per picture on local Spark, otherwise an accumulator."""
    context = pyspark.spark_context
    folder = os.environ.get("SPARK_LOCAL_DIRS")
    if folder is None or not context.master.startswith("local["):
        return context.accumulator(0)  # type: ignore[no-any-return]
    counter = FileCounter(str(Path(folder) / f"count-{uuid.uuid4().hex}"))
    return cast("Accumulator[int]", counter)  # `add` and `value` are all that is used


def count_cores(pyspark: LazyPySparkResource) -> int:
    """The number of Spark's cores; 1 if Spark was not started."""
    if pyspark._spark_session is None:
        return 1
    return cores.count_cores(pyspark.spark_context)


class AssetStorage(dg.ConfigurableResource["AssetStorage"]):
    """The storage of the assets. A run fails immediately if its bucket fails inspection."""

    root: str
    show_photos: bool = False
    """Whether metadata may show personal data, which Dagster keeps even after an erasure."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        require_in_region([self.tables.root])

    @cached_property
    def tables(self) -> Tables:
        """The tables under the root."""
        return Tables(Location.parse(self.root))


class CandidateStorage(dg.ConfigurableResource["CandidateStorage"]):
    """The storage of another model's assets, to compare with the current ones, if there is one."""

    root: str | None = None

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        if self.tables is not None:
            require_in_region([self.tables.root])

    @cached_property
    def tables(self) -> Tables | None:
        """The tables under the root; None without a candidate."""
        return None if self.root is None else Tables(Location.parse(self.root))


class InputFolder(dg.ConfigurableResource["InputFolder"]):
    """The folder of pictures, which may be empty, for the sensor and the erase job."""

    uri: str
    queue_url: str | None = None
    """URL of the SQS queue that receives S3's event notifications."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        require_in_region([self.root])

    @property
    def root(self) -> Location:
        """The folder."""
        return Location.parse(self.uri)

    @cached_property
    def queue(self) -> InputQueue | None:
        """The queue; None without one, or for a local folder."""
        if self.queue_url and self.root.scheme == "s3":
            return InputQueue(self.queue_url, configured_region())
        return None

    def listing(self) -> Listing:
        """A new listing of the folder."""
        return list_files(self.root)


class PictureSource(InputFolder):
    """The folder of pictures to ingest. A run fails immediately if it is missing or empty."""

    max_side: int = Limits.max_side
    """Larger pictures are scaled down to this side length."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        super().setup_for_execution(context)
        require_some_file(self.root)


class PcaDefaults(dg.ConfigurableResource["PcaDefaults"]):
    """Defaults of the configuration of `pca_model`, from the settings."""

    n_components: int = N_COMPONENTS


class ModelWeights(dg.ConfigurableResource[Location]):
    """The .h5 file of Keras weights. A run that needs it fails immediately if it does not fit."""

    uri: str

    def create_resource(self, context: dg.InitResourceContext) -> Location:
        location = Location.parse(self.uri)
        require_in_region([location])
        weights_alpha(location)
        return location


class Residency(dg.ConfigurableResource["Residency"]):
    """All locations that a deployment reads or writes, for inspection of their buckets."""

    uris: list[str]

    def findings(self) -> list[Finding]:
        """The results of inspecting the buckets; none if all locations are local.

        Raises:
            AwsError: a bucket could not be inspected.
        """
        return inspect_buckets([Location.parse(uri) for uri in self.uris])
