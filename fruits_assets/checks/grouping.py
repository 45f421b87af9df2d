"""How checks are defined: a check is a function, and one op per asset evaluates its checks.

An op per check would start a step for each of them and make the graph of a job unreadable.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from inspect import getdoc

import dagster as dg

from fruits_assets.resources import AssetStorage, Residency
from spark_src.errors import FruitsError
from spark_src.tables.delta import Tables

ERROR = "error"
"""The metadata of a check that could not be evaluated: the class of the error."""


@dataclass(frozen=True)
class CheckContext:
    """What a check may use."""

    storage: AssetStorage
    residency: Residency
    run: dg.DagsterRun

    @property
    def tables(self) -> Tables:
        """The stored assets."""
        return self.storage.tables


CheckFunction = Callable[[CheckContext], dg.AssetCheckResult]


@dataclass(frozen=True)
class Check:
    """A check of one asset, not yet part of an op."""

    spec: dg.AssetCheckSpec
    function: CheckFunction

    def evaluate(self, context: CheckContext) -> dg.AssetCheckResult:
        """The result, which has severity ERROR if the check could not be evaluated."""
        try:
            result = self.function(context)
        except FruitsError as error:
            result = dg.AssetCheckResult(
                passed=False, description=str(error), metadata={ERROR: type(error).__name__}
            )
        return result._replace(check_name=self.spec.name)


def asset_check(
    asset: str, *, name: str | None = None, description: str | None = None, blocking: bool = False
) -> Callable[[CheckFunction], Check]:
    """Define a check, like `dg.asset_check`, but without an op of its own.

    Args:
        asset: the asset's name.
        name: the check's name; by default that of the function.
        description: by default the function's docstring.
        blocking: whether assets downstream are not materialized if it fails.
    """

    def define(function: CheckFunction) -> Check:
        spec = dg.AssetCheckSpec(
            name or function.__name__,
            asset=asset,
            description=description or getdoc(function),
            blocking=blocking,
        )
        return Check(spec, function)

    return define


def group_by_asset(checks: Iterable[Check]) -> list[dg.AssetChecksDefinition]:
    """One op for the checks of each asset."""
    groups: dict[str, list[Check]] = {}
    for check in checks:
        groups.setdefault(check.spec.asset_key.to_user_string(), []).append(check)
    return [_op(asset, group) for asset, group in groups.items()]


def op_name(asset: str) -> str:
    """The op of an asset's checks, which is also the key of its step."""
    return f"{asset}_checks"


def _op(asset: str, checks: list[Check]) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=op_name(asset),
        description=f"Evaluates the checks of {asset}.",
        specs=[check.spec for check in checks],
        can_subset=True,
    )
    def evaluate(
        context: dg.AssetCheckExecutionContext, storage: AssetStorage, residency: Residency
    ) -> Iterator[dg.AssetCheckResult]:
        inputs = CheckContext(storage, residency, context.run)
        unexpected: list[Exception] = []
        for check in checks:
            if check.spec.key not in context.selected_asset_check_keys:
                continue
            try:
                result = check.evaluate(inputs)
            except Exception as error:  # noqa: BLE001 - must not hide the other results
                unexpected.append(error)
            else:
                yield result
        if unexpected:
            raise unexpected[0]

    return evaluate
