"""An interrupted run is cancelled, not failed, whatever error the interruption causes."""

from collections.abc import Iterator

import dagster as dg
import pytest

from fruits_assets.dagster_internals import DagsterExecutionInterruptedError
from fruits_assets.failures import one_sentence


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, DagsterExecutionInterruptedError])
@pytest.mark.parametrize("error", [KeyError("c"), OSError("broken pipe"), None])
def test_an_error_in_the_cleanup_after_ctrl_c_does_not_fail_the_run(
    instance: dg.DagsterInstance, interruption: type[BaseException], error: Exception | None
) -> None:
    @dg.asset
    @one_sentence
    def interrupted(_context: dg.AssetExecutionContext) -> None:
        try:
            raise interruption
        finally:
            if error is not None:
                raise error

    dg.materialize([interrupted], instance=instance, raise_on_error=False)
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.CANCELED]


def test_another_error_still_fails_the_run(instance: dg.DagsterInstance) -> None:
    @dg.asset
    @one_sentence
    def broken(_context: dg.AssetExecutionContext) -> None:
        raise KeyError("c")

    dg.materialize([broken], instance=instance, raise_on_error=False)
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]
