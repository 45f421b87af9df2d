"""Two processes that publish at the same moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from spark_src.io.locations import Location
from spark_src.storage import Storage

ROUNDS = 40

RACER = """
import sys, time
from pathlib import Path
from spark_src.errors import ConcurrentWriteError
from spark_src.io.locations import Location
from spark_src.storage import Storage

root, run_id, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for number in range(rounds):
    storage = Storage(Location.parse(str(root / str(number))))
    draft = storage.begin("raw_images", run_id)
    (root / f"{number}.{run_id}").touch()
    while len(list(root.glob(f"{number}.*"))) < 2:
        time.sleep(0.0002)
    try:
        storage.publish(draft, {"rows": 1})
        print(number, flush=True)
    except ConcurrentWriteError:
        pass
"""


def test_of_two_processes_publishing_at_once_one_alone_believes_it_did(tmp_path: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path), run_id, str(ROUNDS)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for run_id in ("one", "two")
    ]
    winners = [number for racer in racers for number in racer.communicate(timeout=60)[0].split()]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert sorted(winners, key=int) == [str(number) for number in range(ROUNDS)]
    for number in range(ROUNDS):
        assert Storage(Location.parse(str(tmp_path / str(number)))).current("raw_images").rows == 1
