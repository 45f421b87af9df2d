"""The file that spark-submit starts on the cluster. Alone, so that a broken environment can speak.

It ends with an error where its asset failed, so that EMR calls the step failed, too.
"""

import sys
from pathlib import Path


def main(region: str, bucket: str, folder: str, order_file: str) -> None:
    """Run the step that the file describes."""
    from fruits_assets.emr.step import run

    if not run(region, bucket, folder, Path(order_file)):
        sys.exit("The asset failed; its events, which the run has, say why.")


if __name__ == "__main__":
    main(*sys.argv[1:5])
