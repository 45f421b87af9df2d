"""The file that spark-submit starts on the cluster.

It has no imports at module level, so that errors of a broken environment are reported. It exits
with an error if the asset failed, so that EMR marks the step as failed, too.
"""

import sys
from pathlib import Path


def main(region: str, bucket: str, folder: str, definition_file: str) -> None:
    """Run the step that the file describes."""
    from fruits_assets.emr.step import run

    if not run(region, bucket, folder, Path(definition_file)):
        sys.exit("The asset failed; see the events of the run for the reason.")


if __name__ == "__main__":
    main(*sys.argv[1:5])
