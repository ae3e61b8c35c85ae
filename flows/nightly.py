"""The Prefect flow `verify`: sources, lake and collection compared, or healed, on a schedule."""

import asyncio
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact
from prefect.states import Completed, Failed

from flows.parameters import VerifyParameters
from flows.prefect_logs import rooms_heard
from flows.repair import repair
from flows.verify import verify as compare


@flow(name="verify", flow_run_name="verify {parameters.collection}", persist_result=False)
async def verify(parameters: VerifyParameters) -> Any:
    """Compare sources, lake and collection row by row; Failed when they do not agree.

    With `repair`, what does not agree is healed from the lake first, and only what is left counts.
    """
    settings = parameters.settings()
    with rooms_heard():
        report = await asyncio.to_thread(
            repair if parameters.repair else compare, settings, _paths(parameters.sources), as_json=False
        )
    lines = report.lines()
    await acreate_markdown_artifact(
        "```\n" + "\n".join(lines) + "\n```",
        key="verify",
        description=f"Sources, lake and collection {settings.milvus.collection}",
    )
    if report.exit_code:
        return Failed(message=lines[0], data=report.exit_code)
    return Completed(message=lines[0], data=report.exit_code)


def _paths(sources: list[str]) -> list[Path]:
    return [Path(source).absolute() for source in sources]
