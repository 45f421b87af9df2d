"""Evaluates IAM policies (identity, bucket, endpoint) as AWS documents it, without AWS.

moto does not evaluate conditions, bucket policies and endpoint policies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

Statement = Mapping[str, Any]


class UnknownConditionError(Exception):
    """A policy has a condition that this module does not support."""


@dataclass(frozen=True)
class Request:
    """One action on one resource. Keys that are missing in the request are not in its context."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """`sids`: the identity's statements that allow the request; otherwise `refused_by` is set."""

    allowed: bool
    sids: tuple[str, ...] = ()
    refused_by: str = ""


def decide(
    request: Request, identity: list[Statement], others: Mapping[str, list[Statement]]
) -> Decision:
    """Whether the request is allowed.

    Args:
        request: the request.
        identity: the statements of the identity's policies.
        others: statements of a bucket (denies apply) and an endpoint (denies apply; must allow).
    """
    for name, statements in {"identity": identity, **others}.items():
        for statement in matching(request, statements, "Deny"):
            return Decision(False, refused_by=f"{name}: {statement['Sid']}")
    if "endpoint" in others and not list(matching(request, others["endpoint"], "Allow")):
        return Decision(False, refused_by="endpoint: nothing allows it")
    sids = tuple(str(statement.get("Sid")) for statement in matching(request, identity, "Allow"))
    return Decision(bool(sids), sids, "" if sids else "identity: nothing allows it")


def matching(request: Request, statements: Iterable[Statement], effect: str) -> Iterable[Statement]:
    """The statements with that effect that match the request."""
    for statement in statements:
        if (
            statement["Effect"] == effect
            and _any(statement["Action"], lambda want: _like(request.action.lower(), want.lower()))
            and _any(statement["Resource"], lambda want: _like(request.resource, want))
            and _holds(statement.get("Condition", {}), request.context)
        ):
            yield statement


def _holds(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    return all(
        _compare(operator, context.get(key), wanted)
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _compare(operator: str, value: str | None, wanted: Any) -> bool:
    if operator == "Null":
        return (value is None) == (str(wanted).lower() == "true")
    plain = operator.removesuffix("IfExists")
    negated = plain in ("StringNotEquals", "StringNotLike")
    if value is None:
        return negated or operator.endswith("IfExists")
    compare = _OPERATORS.get(plain)
    if compare is None:
        raise UnknownConditionError(operator)
    found = _any(wanted, lambda want: compare(value, want))
    return not found if negated else found


def _like(value: str, pattern: str) -> bool:
    """Match IAM's wildcards `*` and `?`; brackets are literal."""
    return fnmatchcase(value, re.sub(r"\[", "[[]", pattern))


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": str.__eq__,
    "StringNotEquals": str.__eq__,
    "StringLike": _like,
    "StringNotLike": _like,
    "ArnEquals": _like,
    "ArnLike": _like,
    "Bool": lambda value, want: value.lower() == str(want).lower(),
    "NumericLessThan": lambda value, want: float(value) < float(want),
}


def _any(wanted: Any, test: Callable[[str], bool]) -> bool:
    return any(test(str(one)) for one in (wanted if isinstance(wanted, list) else [wanted]))
