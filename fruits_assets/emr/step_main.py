"""The file that spark-submit starts on the cluster. Alone, so that a broken environment can speak.

It needs nothing of the project until `run`: what goes wrong before is put beside the step's other
files, where the launcher reads it at once (EMR copies its own logs every five minutes).
"""

import os
import sys
import traceback

CRASH_FILE = "crash.txt"


def main(bucket: str, key: str) -> None:
    """Run the step that the file at this key describes."""
    try:
        from fruits_assets.emr.step import run

        run(bucket, key)
    except BaseException:
        _report(bucket, f"{os.path.dirname(key)}/{CRASH_FILE}", traceback.format_exc())
        raise


def _report(bucket: str, key: str, text: str) -> None:
    import boto3

    boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=text.encode())


if __name__ == "__main__":
    main(*sys.argv[1:3])
