"""Errors a user can act on. Each message names the object, the cause and the remedy."""

from collections.abc import Mapping


class FruitsError(Exception):
    """Base class of errors that the user can fix.

    Args:
        message: the object, the cause and the remedy.
        details: shown beside the message in Dagster's UI; a mapping is shown as counts by name.
    """

    def __init__(self, message: str = "", details: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.details = dict(details or {})


class SettingsError(FruitsError):
    """A setting has a value that cannot be used."""


class InputError(FruitsError):
    """The input folder is missing, empty or mostly unreadable."""


class UnusablePictureError(InputError):
    """A picture is not accepted. `reason` is its code in `rejected_images`."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class WeightsError(FruitsError):
    """The weights are missing or do not match MobileNetV2 without its top."""


class ConversionError(FruitsError):
    """The converted model's output differs from that of the Keras model."""


class PcaError(FruitsError):
    """PCA cannot be fitted or applied to the given features."""


class StorageError(FruitsError):
    """Base class of storage errors."""


class NothingStoredError(StorageError):
    """An asset was read before it was materialized."""


class UnreadableVersionError(StorageError):
    """The current version cannot be read: written by an incompatible code version, or damaged."""


class ConcurrentWriteError(StorageError):
    """Another run committed during this run."""


class AuditError(StorageError):
    """The written data failed an audit and was not committed."""


class AwsError(FruitsError):
    """A request to AWS failed. `code` is the AWS error code."""

    def __init__(self, message: str, code: str = "unknown") -> None:
        super().__init__(message)
        self.code = code


class ClusterError(FruitsError):
    """The EMR cluster does not exist or start, or a step failed."""


class ResidencyError(FruitsError):
    """Data would leave the configured region of the EU, or its bucket is not safe."""


class DatasetError(FruitsError):
    """A dataset could not be downloaded completely."""


class ErasureError(FruitsError):
    """A person's data could not be erased completely."""


class ClassifierError(FruitsError):
    """The classifier cannot be trained on the available labelled images."""
