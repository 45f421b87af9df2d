"""Runs cells as Apache Livy's Python shell does (repl/src/main/resources/fake_shell.py, 0.8).

Self-contained, because it is copied to a node. Unlike Jupyter it has no IPython, and its only magic
is `%matplot name`, which treats a global like `matplotlib.pyplot`.
"""

import ast
import io
import re


def run_cell(source, names):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Run a cell in these globals; return the PNG that its last line shows, or None."""
    image = None
    for chunk in re.split(r"^(%.*)$", source, flags=re.MULTILINE):
        if chunk.startswith("%"):
            magic, name = chunk[1:].split(" ")
            assert magic == "matplot", f"Livy knows no {magic}"
            file = io.BytesIO()
            names[name].gcf().savefig(file, format="png")
            image = file.getvalue()
        elif chunk.strip():
            *statements, last = ast.parse(chunk).body
            for statement in statements:
                exec(compile(ast.Module([statement], []), "<stdin>", "exec"), names)  # noqa: S102 - as Livy does
            exec(compile(ast.Interactive([last]), "<stdin>", "single"), names)  # noqa: S102 - as Livy does
    return image
