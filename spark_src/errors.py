"""Errors a user can act on. Each message names the thing, the cause and the remedy."""


class FruitsError(Exception):
    """Base of every error that the user can fix, so that callers can catch just these."""


class SettingsError(FruitsError):
    """A setting has a value that cannot be used."""


class InputError(FruitsError):
    """The input folder is missing, empty or mostly unreadable."""


class UnusablePictureError(InputError):
    """One picture is not accepted. `reason` is its code in the ledger of rejected pictures."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class WeightsError(FruitsError):
    """The weights are missing or do not fit MobileNetV2 without its top."""


class ConversionError(FruitsError):
    """The converted model does not compute what the Keras model computes."""


class PcaError(FruitsError):
    """The features given cannot be reduced as asked."""


class StorageError(FruitsError):
    """Base of what can go wrong between the assets and their storage."""


class NothingStoredError(StorageError):
    """An asset was read before anything made it."""


class UnreadableVersionError(StorageError):
    """What is current cannot be read: written by newer code or the first edition, or damaged."""


class ConcurrentWriteError(StorageError):
    """Another run committed while this one was working."""


class AuditError(StorageError):
    """What was written is not what it has to be, so it was not committed."""


class AwsError(FruitsError):
    """AWS refused or did not answer. `code` is its own short name for why."""

    def __init__(self, message: str, code: str = "unknown") -> None:
        super().__init__(message)
        self.code = code


class ClusterError(FruitsError):
    """The EMR cluster is not there, does not start, or a step on it failed."""


class ResidencyError(FruitsError):
    """Data would leave the configured region of the EU, or its bucket is not safe."""


class DatasetError(FruitsError):
    """A data set could not be fetched whole."""


class ErasureError(FruitsError):
    """A person's data could not be erased completely."""


class ClassifierError(FruitsError):
    """The labelled images there are cannot be learnt from."""
