"""The Dagster side: assets, IO managers, checks and the command line. No numeric code.

`from fruits_assets import load, embed` reads a table, and gives the numbers of one picture; nothing
is imported before it is used, because every Python of the project's environment imports this
package at its start.
"""

TYPE_CHECKING = False  # type checkers take it for true; `typing` would take longer than the rest
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
