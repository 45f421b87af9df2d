"""The Dagster side: assets, IO managers, checks and the command line. No numeric code.

`from fruits_assets import load, embed` provides functions that read a table and embed a picture.
All imports are lazy, because every Python process of the project's environment imports this package
at start-up.
"""

TYPE_CHECKING = False  # type checkers assume True; importing `typing` would be slow
if TYPE_CHECKING:
    from fruits_assets.embedding import embed
    from fruits_assets.loading import load
    from fruits_assets.searching import search

__all__ = ["embed", "load", "search"]


def __getattr__(name: str) -> object:
    if name == "load":
        from fruits_assets.loading import load

        return load
    if name == "search":
        from fruits_assets.searching import search

        return search
    if name == "embed":
        from fruits_assets.embedding import embed

        return embed
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
