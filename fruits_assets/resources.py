"""What the assets work with. Each checks itself when a run starts, before Spark does."""

from functools import cached_property

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pydantic import PrivateAttr

from spark_src.ingest import Source, list_source
from spark_src.locations import Location
from spark_src.model import keras_model
from spark_src.session import use_bundled_java
from spark_src.storage import Storage


class LocalSpark(LazyPySparkResource):
    """Spark in this process, started when it is first used, with the Java that came by pip."""

    def _init_session(self) -> None:
        use_bundled_java()
        super()._init_session()


class AssetStorage(dg.ConfigurableResource[Storage]):
    """Where the assets' versions lie."""

    root: str

    @cached_property
    def versions(self) -> Storage:
        """The versions under the root."""
        return Storage(Location.parse(self.root))


class PictureSource(dg.ConfigurableResource[Source]):
    """The folder of pictures. A run that needs it fails at once where it is missing or empty."""

    uri: str
    _listed: Source | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        self._listed = list_source(Location.parse(self.uri))

    @property
    def listed(self) -> Source:
        """Its files, as they were when the run started."""
        return self._listed or list_source(Location.parse(self.uri))


class ModelWeights(dg.ConfigurableResource[Location]):
    """The Keras weights. A run that needs them fails at once where they do not fit."""

    uri: str

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        keras_model(self.location)

    @property
    def location(self) -> Location:
        """The .h5 file."""
        return Location.parse(self.uri)
