"""The Prefect flow `verify`: compares sources, lake and collection, or repairs them, on a schedule."""

import asyncio
from typing import Any

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact
from prefect.states import Completed, Failed

from millrace.flows.commands.report.markdown_summary import fenced
from millrace.flows.commands.verify.repair import repair
from millrace.flows.commands.verify.verify import verify as compare
from millrace.flows.prefect_support.parameters import VerifyParameters, source_paths
from millrace.flows.prefect_support.run_logs import log_to_flow_run


@flow(name="verify", flow_run_name="verify {parameters.collection}", persist_result=False)
async def verify(parameters: VerifyParameters) -> Any:
    """Compare sources, lake and collection row by row; Failed when they do not agree.

    With `repair`, differences are repaired from the lake first, and only the remaining ones count.
    """
    settings = parameters.settings()
    with log_to_flow_run():
        report = await asyncio.to_thread(
            repair if parameters.repair else compare,
            settings,
            source_paths(parameters),
            as_json=False,
            reread=parameters.reread,
        )
    lines = report.lines()
    await acreate_markdown_artifact(
        fenced(lines),
        key="verify",
        description=f"Sources, lake and collection {settings.milvus.collection}",
    )
    if report.exit_code:
        return Failed(message=lines[0], data=report.exit_code)
    return Completed(message=lines[0], data=report.exit_code)
