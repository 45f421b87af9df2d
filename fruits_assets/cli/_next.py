"""The line with the next step that ends a command's output."""

import os
import shlex

import typer

from fruits_assets import environment

_EXAMPLE = os.path.join(
    environment.BUNDLED, "sample", "fruits-360", "Test", "Cherry 2", "103_100.jpg"
)


def say_next(command: str, purpose: str) -> None:
    """Print a command of `fruits` that continues from here, and its purpose."""
    typer.echo(f"next    uv run fruits {command}  # {purpose}")


def example_picture() -> str:
    """A picture of the sample as an argument for the shell, relative if that is shorter."""
    relative = os.path.relpath(_EXAMPLE)
    return shlex.quote(min(relative, _EXAMPLE, key=len))
