"""The graph of a run over records: a stage that reads the files, and a sink. Imported with the pool.

Runs in the coordinator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.cli.run.block_outcomes import BlockOutcomes
from orchestrator.graph.runner import Runner
from orchestrator.graph.sinks import SinkNode
from orchestrator.graph.source_stage import FeedNode
from orchestrator.pool.internals import internals_of
from orchestrator.settings import MapOptions
from orchestrator.sinks.given import GivenSink
from orchestrator.sources.block_splitting import Divider

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.cli.run.plan import RunPlan
    from orchestrator.cli.session.result_sink import ResultSink
    from orchestrator.engine.protocol.events import Lost
    from orchestrator.engine.stage import Stage
    from orchestrator.graph.checkpoints import Checkpoints
    from workers.records.blocks import BlockResult


def graph_of(
    plan: RunPlan,
    pool: Any,
    sink: ResultSink[BlockResult, BlockResult],
    checkpoints: Checkpoints | None,
    on_lost: Callable[[Lost], None],
) -> Runner:
    """Return the run of a plan.

    `on_lost` is told about chunks that were lost with a worker.
    """
    failing = plan.settings.failing
    options = MapOptions(
        ordered=plan.settings.ordered,
        chunk=1,
        retries=failing.retries,
        retry_delay_s=failing.retry_delay_s,
        timeout_s=failing.timeout_s,
    )
    skip = failing.on_error == "skip"
    divider = Divider(plan.runner.record_format, skip=skip, outcomes=BlockOutcomes(plan.runner))

    def open_stage() -> Stage:
        stage: Stage = internals_of(pool).open_stage(plan.runner, options, divider=divider)
        stage.tell_lost(on_lost)
        return stage

    feed = FeedNode("", plan.source, open_stage)
    written = SinkNode("", GivenSink(sink))
    feed.outlets[0].to(written)
    return Runner([feed, written], internals_of(pool).engine, checkpoints=checkpoints)
