"""How assets are kept: every write is a new version, and reads go to the current one."""

import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pyspark.sql import DataFrame, SparkSession

from fruits_assets import metadata
from fruits_assets.resources import AssetStorage
from spark_src.errors import (
    AwsError,
    FruitsError,
    NothingStoredError,
    UnreadableVersionError,
)
from spark_src.evaluation import drift
from spark_src.features import model as mobilenet
from spark_src.features.model import MobilenetModel
from spark_src.io.aws import explained
from spark_src.io.locations import Location
from spark_src.pca import files as pca_files
from spark_src.pca.fit import Earlier, Fit
from spark_src.pca.model import PcaModel
from spark_src.spark.progress import Work, spoken
from spark_src.spark.session import read_pictures, read_table, read_vectors
from spark_src.storage import Draft, Version
from spark_src.tables import csv as export
from spark_src.tables.schemas import require_columns
from spark_src.tables.statistics import digests, most_images, table_facts, vector_facts

VECTORS = {"mobilenet_features": "features", "pca_components": "pca"}
"""Tables of vectors, and the column that holds them."""


Say = Callable[[str], None]


@dataclass(frozen=True)
class Table:
    """A stored table as an asset gets it: the rows, and what is known of them."""

    frame: DataFrame
    version: Version


class VersionedIOManager(dg.ConfigurableIOManager):
    """Writes a draft, measures it, publishes it; a failure leaves the old version current."""

    storage: dg.ResourceDependency[AssetStorage]
    spark: dg.ResourceDependency[LazyPySparkResource]

    @abstractmethod
    def write(self, made: Any, asset: str, folder: Location, say: Say) -> dict[str, Any]:
        """Write into the folder and return the facts that belong to the version."""

    @abstractmethod
    def read(self, version: Version) -> Any:
        """Load a version."""

    @property
    def session(self) -> SparkSession:
        """Spark, started now if it was not before."""
        session: SparkSession = self.spark.spark_session
        return session

    @property
    def cores(self) -> int:
        """How many cores Spark has, so that what took so long can be said of one of them."""
        return self.session.sparkContext.defaultParallelism

    def store(self, made: Any, asset: str, run_id: str, say: Say) -> metadata.Metadata:
        """Write a version and make it current; return what the UI shows of it."""
        started = made.started if isinstance(made, Work) else time.monotonic()
        with explained(f"making {asset} under {self.storage.versions.prefix(asset)}"):
            version = self._published(made, asset, run_id, say, started)
        if isinstance(made, Work):
            made.cleanup()
        return metadata.of_version(version) | self._pictures(version, say)

    def _pictures(self, version: Version, say: Say) -> metadata.Metadata:
        """What the UI shows besides figures; the version is current, whatever becomes of them."""
        from fruits_assets.pictures import Gallery  # Matplotlib takes 0.7 s: only what draws pays

        try:
            return Gallery(self.storage.versions, self.storage.show_photos).of(version)
        except (OSError, ValueError, FruitsError) as error:
            say(f"{version.asset} is stored, but nothing can be drawn of it: {error}")
            return {}

    def _published(self, made: Any, asset: str, run_id: str, say: Say, started: float) -> Version:
        versions = self.storage.versions
        draft = versions.begin(asset, run_id)
        try:
            facts = self.write(made, asset, draft.location, say)
            facts = facts | {"seconds": round(time.monotonic() - started, 2)}
            before = versions.find(asset)
            facts |= most_images(facts, before.facts if before else {})
            return versions.publish(draft, facts)
        except BaseException as error:
            self._discard(draft, error)
            raise

    def _discard(self, draft: Draft, why: BaseException) -> None:
        """Clear the draft away, if that can be done: what went wrong first is what is told."""
        try:
            self.storage.versions.discard(draft)
        except (OSError, AwsError) as error:
            why.add_note(f"{draft.location} is left; the next run clears it away ({error})")

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        asset = context.asset_key.to_python_identifier()
        context.add_output_metadata(self.store(obj, asset, context.run_id, context.log.info))

    def load_input(self, context: dg.InputContext) -> Any:
        asset = context.asset_key.to_python_identifier()
        with explained(f"reading {asset}"):
            return self.read(self.storage.versions.current(asset))


class ParquetIOManager(VersionedIOManager):
    """Tables: `Work` goes in, `Table` comes out."""

    def write(self, made: Work, asset: str, folder: Location, say: Say) -> dict[str, Any]:
        with spoken(made, say) as course:
            made.write(folder)
        written = require_columns(read_table(self.session, folder), asset)
        facts = made.facts | {"images": made.images, "cores": self.cores} | table_facts(written)
        facts |= course.facts
        if asset in VECTORS:
            facts |= vector_facts(self.session, folder, VECTORS[asset])
        if "model" in written.columns:
            facts["models"] = digests(written)
        return facts

    def read(self, version: Version) -> Table:
        if version.asset == "raw_images":
            return Table(read_pictures(self.session, version), version)
        return Table(read_vectors(self.session, version.location), version)


class CsvIOManager(VersionedIOManager):
    """One CSV file, for people; no asset reads it."""

    def write(self, made: Work, asset: str, folder: Location, say: Say) -> dict[str, Any]:
        with spoken(made, say):
            made.write(folder)
        facts = made.facts | {"images": made.images, "cores": self.cores}
        return facts | {"rows": export.count_rows(folder / export.FILE)}

    def read(self, version: Version) -> Location:
        return version.location / export.FILE


class MobilenetModelIOManager(VersionedIOManager):
    """The LiteRT file, as phones take it; its origin is in the version's facts."""

    def write(self, made: MobilenetModel, asset: str, folder: Location, say: Say) -> dict[str, Any]:
        (folder / mobilenet.FILE).write(made.content)
        return made.facts

    def read(self, version: Version) -> MobilenetModel:
        return mobilenet.load(version.location, version.facts)


class PcaModelIOManager(VersionedIOManager):
    """The fitted PCA as Parquet with its sums, and the same as a Spark ML model beside it."""

    def write(self, made: Fit, asset: str, folder: Location, say: Say) -> dict[str, Any]:
        pca_files.save(made.model, folder)
        pca_files.save_sums(made.sums, folder)
        pca_files.save_spark_ml(self.session, made.model, folder)
        for features in self.storage.versions.kept("mobilenet_features"):
            if features.name == made.features:
                drift.save(drift.reference(self.session, features, made), folder)
        return made.model.facts | {"features": made.features}

    def read(self, version: Version) -> PcaModel:
        return pca_files.load(version.location)

    def holds(self, fit: Fit) -> bool:
        """Whether the current version is this very fit, and readable."""
        try:
            current = self.storage.versions.current("pca_model")
            same_features = current.facts["features"] == fit.features
            return same_features and self.read(current).digest == fit.model.digest
        except (NothingStoredError, UnreadableVersionError):
            return False

    def earlier(self) -> Earlier | None:
        """The sums of the current version, if they and the features they are of can be read."""
        versions = self.storage.versions
        try:
            model = versions.current("pca_model")
            named = model.facts.get("features")
            features = next(v for v in versions.kept("mobilenet_features") if v.name == named)
            return Earlier(pca_files.load_sums(model.location), features)
        except (NothingStoredError, UnreadableVersionError, StopIteration):
            return None
