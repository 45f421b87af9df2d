"""What the assets work with. Each checks itself when a run starts, before Spark does."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_pyspark import LazyPySparkResource

from fruits_assets.emr.step import is_remote
from spark_src.errors import ClusterError
from spark_src.features.model import weights_alpha
from spark_src.images.listing import Listing, list_files, require_some_file
from spark_src.images.rejection import Limits
from spark_src.io.locations import Location
from spark_src.io.residency import Finding, inspect_buckets, require_in_region
from spark_src.spark.scratch import make_scratch
from spark_src.spark.session import use_bundled_java
from spark_src.tables.delta import Tables

REGION = "eu-west-1"


Launcher = dg.ResourceParam[Any]
"""An asset that takes it runs on the cluster where there is one: Dagster looks for launchers."""


class LocalSpark(LazyPySparkResource):
    """Spark in this process, started when it is first used, with the Java that came by pip."""

    scratch: str
    """Folder for what Spark spills."""

    def _init_session(self) -> None:
        use_bundled_java()
        os.environ["SPARK_LOCAL_DIRS"] = str(make_scratch(Path(self.scratch)))
        super()._init_session()


class ClusterSpark(LazyPySparkResource):
    """The cluster's Spark, in a step that spark-submit started there; on the host there is none."""

    def _init_session(self) -> None:
        if not is_remote():
            raise ClusterError(
                "FRUITS_DEPLOYMENT=emr starts no Spark on this machine: only steps on the cluster "
                "have one. Unset FRUITS_DEPLOYMENT to work here."
            )
        super()._init_session()


def count_cores(pyspark: LazyPySparkResource) -> int:
    """How many cores Spark has; 1 where nothing has started it."""
    if pyspark._spark_session is None:
        return 1
    return int(pyspark.spark_context.defaultParallelism)


class AssetStorage(dg.ConfigurableResource[Tables]):
    """Where the assets lie. A run fails at once where its bucket is not fit for data."""

    root: str
    region: str = REGION
    show_photos: bool = False
    """Whether metadata may show what can be a person's: Dagster keeps it, also after an erasure."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        require_in_region([Location.parse(self.root)], self.region)

    @cached_property
    def tables(self) -> Tables:
        """The tables under the root."""
        return Tables(Location.parse(self.root))


class PictureSource(dg.ConfigurableResource[Listing]):
    """The folder of pictures. A run that needs it fails at once where it is missing or empty."""

    uri: str
    region: str = REGION
    max_side: int = Limits.max_side
    """Larger pictures are kept at a smaller scale."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        require_in_region([self.root], self.region)
        require_some_file(self.root)

    @property
    def root(self) -> Location:
        """The folder."""
        return Location.parse(self.uri)

    def listing(self) -> Listing:
        """Everything in it, listed now."""
        return list_files(self.root)


class ModelWeights(dg.ConfigurableResource[Location]):
    """The Keras weights. A run that needs them fails at once where they do not fit."""

    uri: str
    region: str = REGION

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        require_in_region([self.location], self.region)
        weights_alpha(self.location)

    @property
    def location(self) -> Location:
        """The .h5 file."""
        return Location.parse(self.uri)


class Residency(dg.ConfigurableResource[list[Finding]]):
    """Every place that a deployment reads or writes, to be inspected without reading it."""

    uris: list[str]
    region: str = REGION

    def findings(self) -> list[Finding]:
        """What their buckets are like; none where all are on this machine.

        Raises:
            AwsError: a bucket could not be inspected.
        """
        return inspect_buckets([Location.parse(uri) for uri in self.uris], self.region)
