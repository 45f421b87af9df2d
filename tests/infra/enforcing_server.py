"""moto's server with IAM enforcement for each role, and a log of the requests.

    python -m tests.infra.enforcing_server <file with the rules> <file for the log>

Runs as a separate process. The access key `KEY<role>` identifies a role. Requests with other keys
set up the account and are not checked. The policies are those that Terraform renders.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from tests.infra import aws_requests
from tests.infra.aws_requests import Http
from tests.infra.policies import Decision, Request, decide

PREFIX = "KEY"

Start = Callable[..., Any]


class Enforcing:
    """A WSGI application that wraps moto's."""

    def __init__(self, rules: dict[str, Any], kept: Path) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._rules, self._kept = rules, kept.open("a")
        self._tags: dict[str, dict[str, str]] = {}

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        http = _read(environ)
        role = http.access_key.removeprefix(PREFIX)
        if not http.access_key.startswith(PREFIX):
            return self._moto(environ, start)
        try:
            body = json.loads(http.body)
        except ValueError:
            body = {}
        ids = [body.get(name) for name in ("ClusterId", "JobFlowId")] + body.get("JobFlowIds", [])
        tags = next((self._tags[one] for one in ids if one in self._tags), {})
        for request in aws_requests.needed(http, tags):
            if not self._decide(role, request).allowed:
                return _refuse(start, http, request)
        return self._ask_moto(role, http, body, environ, start)

    def _ask_moto(
        self, role: str, http: Http, body: Any, environ: dict[str, Any], start: Start
    ) -> Iterable[bytes]:
        status: list[Any] = []
        answer = b"".join(self._moto(environ, lambda *given: status.extend(given)))
        bucket = http.path.lstrip("/").partition("/")[0]
        if status[0].startswith("404") and http.method in ("GET", "HEAD") and bucket:
            request = aws_requests.not_found(bucket)
            if not self._decide(role, request).allowed:
                return _refuse(start, http, request)
        if http.headers.get("x-amz-target") == "ElasticMapReduce.RunJobFlow":
            started = json.loads(answer)["JobFlowId"]
            self._tags[started] = {tag["Key"]: tag["Value"] for tag in body.get("Tags", [])}
        start(*status)
        return [answer]

    def _decide(self, role: str, request: Request) -> Decision:
        rules = self._rules[role]
        bucket = request.resource.removeprefix("arn:aws:s3:::").split("/")[0]
        others = {"bucket": self._rules["buckets"].get(bucket, [])}
        if "endpoint" in rules and request.action.startswith("s3:"):
            others["endpoint"] = rules["endpoint"]
        decision = decide(request, rules["statements"], others)
        line = {
            "role": role,
            "action": request.action,
            "resource": request.resource,
            "allowed": decision.allowed,
            "sids": decision.sids,
            "refused_by": decision.refused_by,
        }
        self._kept.write(json.dumps(line) + "\n")
        self._kept.flush()
        return decision


def _read(environ: dict[str, Any]) -> Http:
    length, stream = environ.get("CONTENT_LENGTH"), environ["wsgi.input"]
    body = stream.read(int(length)) if length else b""
    if environ.get("wsgi.input_terminated"):  # chunked transfer encoding
        body = stream.read()
    environ["wsgi.input"], environ["CONTENT_LENGTH"] = BytesIO(body), str(len(body))
    names = {k[5:].replace("_", "-").lower(): v for k, v in environ.items() if k[:5] == "HTTP_"}
    path = environ["PATH_INFO"].encode("latin-1").decode()
    return Http(environ["REQUEST_METHOD"], path, environ["QUERY_STRING"], names, body)


def _refuse(start: Start, http: Http, request: Request) -> Iterable[bytes]:
    text = f"not allowed: {request.action} on {request.resource}"
    if "x-amz-target" in http.headers:
        start("400 Bad Request", [("Content-Type", "application/x-amz-json-1.1")])
        return [json.dumps({"__type": "AccessDeniedException", "message": text}).encode()]
    start("403 Forbidden", [("Content-Type", "application/xml")])
    if http.method == "HEAD":
        return [b""]
    return [f"<Error><Code>AccessDenied</Code><Message>{text}</Message></Error>".encode()]


def main() -> None:
    """Serve on loopback; the first line of standard output is the port."""
    application = Enforcing(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
    server = make_server("127.0.0.1", 0, application, threaded=True)
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
