"""A process that has imported everything and forks a child for each run, so that tests can afford to kill dozens.

A line of JSON on standard input orders a run; a line on standard output tells how it ended. A child sends itself a signal,
SIGKILL unless another is ordered, when it is told the step `at` for the `occurrence`-th time.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import openai
import pymilvus

from millrace.configs.settings import load_settings
from millrace.flows.commands.ingest.pipeline import Execution
from millrace.flows.commands.ingest.run import ingest
from millrace.flows.commands.ingest.signals import interruptible
from millrace.tasks.errors import MillraceError
from millrace.tasks.lake.collection import delta_table
from millrace.tasks.lake.vectors import store
from millrace.tasks.milvus import writer

_FOR_THE_CHILDREN = (openai, pymilvus)  # each would spend seconds on importing them


PART_CHUNKS = 40
"""Of a part of these runs: a small corpus then has several, and a document longer than one."""


@dataclass(frozen=True)
class Order:
    """One run of `ingest`; with `at` "" it is left alone."""

    assignments: Sequence[str]
    sources: Sequence[str]
    at: str = ""
    occurrence: int = 1
    number: int = signal.SIGKILL


class Steps:
    """The checkpoint of a run: notes every step, and sends the signal at the one that was ordered."""

    def __init__(self, order: Order) -> None:
        self.taken: list[str] = []
        self._order = order
        self._left = order.occurrence
        self._lock = threading.Lock()

    def __call__(self, step: str) -> None:
        with self._lock:
            self.taken.append(step)
            self._left -= step == self._order.at
            if step == self._order.at and self._left == 0:
                os.kill(os.getpid(), self._order.number)


def run(order: Order) -> dict[str, object]:
    """The end of a run that was not killed."""
    steps = Steps(order)
    settings = load_settings(overrides=order.assignments, environment={})
    try:
        with interruptible() as handler:
            report = asyncio.run(
                ingest(
                    settings,
                    [Path(source) for source in order.sources],
                    quiet=True,
                    handler=handler,
                    execution=Execution(part_chunks=PART_CHUNKS, checkpoint=steps),
                )
            )
    except MillraceError as error:
        return {"exit_code": 1, "report": {"error": str(error)}, "steps": steps.taken}
    return {"exit_code": report.exit_code, "report": report.as_json(), "steps": steps.taken}


def main() -> None:
    for line in sys.stdin:
        order = Order(**json.loads(line))
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            store.SEAL_ROWS, writer.MAX_CALL_ROWS = 60, 8
            delta_table._WORTH_SHARE = 1  # edits of a small corpus then stay deltas, as those of a large one do
            os.close(reading)
            with os.fdopen(writing, "w") as answer:
                json.dump(run(order), answer)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            output = answer.read()
        _, status = os.waitpid(child, 0)
        ended = {"killed": os.WIFSIGNALED(status), "exit_code": 0, "report": {}, "steps": [], "child": child}
        print(json.dumps(ended | (json.loads(output) if output else {})), flush=True)


if __name__ == "__main__":
    main()
