"""Runs a cell in a new Livy session on this node, as JupyterHub's kernels do.

The smoke test passes this source to a step: `python -c <source> <Livy's URL> <the cell>`.
"""

import json
import ssl
import sys
import time
import urllib.request
from typing import Any

POLL_SECONDS = 2.0
HANGS_SECONDS = 600.0


def main(url: str, cell: str) -> int:
    session = request("POST", f"{url}/sessions", {"kind": "pyspark"})
    path = f"{url}/sessions/{session['id']}"
    try:
        wait(path, "idle")
        statement = request("POST", f"{path}/statements", {"code": cell})
        output = wait(f"{path}/statements/{statement['id']}", "available")["output"]
    finally:
        request("DELETE", path)
    print(json.dumps(output))
    return 0 if output["status"] == "ok" else 1


def wait(url: str, wanted: str) -> Any:
    until = time.monotonic() + HANGS_SECONDS
    while (found := request("GET", url))["state"] != wanted:
        if found["state"] in {"error", "dead", "killed", "cancelled"} or time.monotonic() > until:
            sys.exit(f"{url} is {found['state']}: {json.dumps(found)}")
        time.sleep(POLL_SECONDS)
    return found


def request(method: str, url: str, body: Any = None) -> Any:
    context = ssl.create_default_context()
    # Livy has the cluster's own certificate, and runs on this node.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    headers = {"Content-Type": "application/json", "X-Requested-By": "fruits"}
    http_request = urllib.request.Request(url, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(http_request, timeout=60, context=context) as answer:
        return json.load(answer)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
