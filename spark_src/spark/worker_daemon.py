"""The daemon that forks Spark's Python workers: pyspark's own, with less overhead per task.

Before each task a worker invalidates Python's import caches, and Python then reads the directory
of every archive on the path again: pyspark.zip, py4j and spark-core.jar cost 90 ms per task. They
are redundant where pyspark is installed, so they are removed from the path. Modules that all
workers use are imported here once, and excluded from the garbage collection after each task.
"""

import gc
import sys

ARCHIVES = (".zip", ".jar")

if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if not entry.endswith(ARCHIVES)]
    for entry in [entry for entry in sys.path_importer_cache if entry.endswith(ARCHIVES)]:
        del sys.path_importer_cache[entry]

    import numpy  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    from pyspark.daemon import manager

    gc.freeze()
    manager()  # type: ignore[no-untyped-call]
