"""The simulator as a process: its base URL is the first line on standard output, and every root it has follows.

    python -m tests.simulator --rps 30 --tps 20000 --growth 10 --latency 0.15 --jitter 0.05
    python -m tests.simulator --any-key --fault internal_error:share=0.02 --fault reset:every=50
    python -m tests.simulator --settings '{"models": [...], "poison_share": 0.01}'
    python -m tests.simulator --settings '{"iflytek": {"error_body": "message"}, "openai": {"flavour": "tei"}}'
    python -m tests.simulator --state-file state --settings '{"seconds_per_second": 60, "batch": {"queue_s": 3600}}'

Roots, one a line with its name: compatible (embeddings, files, batches), native (embeddings and rerank), rerank
(compatible), iflytek (embeddings and rerank), openai (a server that speaks OpenAI's API, with rerank), tei (that
server's other rerank).

It ends on SIGINT or SIGTERM, after --max-seconds, or when the process that started it is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import signal
import sys
from collections.abc import Sequence

import orjson
from pydantic import ValidationError

from tests.simulator.faults import FaultRule
from tests.simulator.limits import Limits
from tests.simulator.server import serving
from tests.simulator.settings import SimulatorSettings

_PARENT_POLL_S = 0.5


def parsed(arguments: Sequence[str]) -> tuple[SimulatorSettings, float]:
    """The settings and the longest life in seconds. Exits with 2 on a wrong argument."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulator", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0, help="0 for any free one")
    parser.add_argument("--max-seconds", type=float, default=3600.0)
    parser.add_argument("--rps", type=float, help="requests a second")
    parser.add_argument("--tps", type=float, help="tokens a second")
    parser.add_argument("--rpm", type=float, help="requests a minute")
    parser.add_argument("--tpm", type=float, help="tokens a minute")
    parser.add_argument("--growth", type=float, help="requests that a second may hold more than the one before")
    parser.add_argument("--beijing", action="store_true", help="the published limits, as the ground for the five above")
    parser.add_argument("--window", choices=["bucket", "fixed", "sliding"], default="bucket", help="of every limit")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    parser.add_argument("--jitter", type=float, default=0.0, help="seconds, plus or minus")
    parser.add_argument("--tail-share", type=float, default=0.0, help="of the answers that are late")
    parser.add_argument("--tail", type=float, default=0.0, help="seconds late")
    parser.add_argument("--key", action="append", metavar="KEY[=ACCOUNT]", help="repeatable")
    parser.add_argument("--any-key", action="store_true", help="every key is right")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state-file", metavar="FILE", help="keeps files, jobs and purchases over a restart")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME:WHEN",
        help="such as reset:every=50 or hang:share=0.01,seed=3",
    )
    parser.add_argument("--settings", default="{}", metavar="JSON", help="any setting; wins over the flags")
    given = parser.parse_args(arguments)
    figures = {
        "requests_per_second": given.rps,
        "tokens_per_second": given.tps,
        "requests_per_minute": given.rpm,
        "tokens_per_minute": given.tpm,
        "growth_per_second": given.growth,
    }
    limits: dict[str, object] = Limits.beijing().model_dump() if given.beijing else {}
    limits |= {name: figure for name, figure in figures.items() if figure is not None}
    limits |= {"second_window": given.window, "minute_window": given.window}
    patch: dict[str, object] = {
        "port": given.port,
        "seed": given.seed,
        "state_file": given.state_file,
        "any_key": given.any_key,
        "limits": limits,
        "latency": {
            "fixed_s": given.latency,
            "jitter_s": given.jitter,
            "tail_share": given.tail_share,
            "tail_s": given.tail,
        },
    }
    if given.key:
        pairs = [key.partition("=") for key in given.key]
        patch["keys"] = {key: account or "main" for key, _, account in pairs}
    try:
        patch["faults"] = [fault_rule(text) for text in given.fault]
        settings = SimulatorSettings().patched(patch).patched(orjson.loads(given.settings))
    except (ValidationError, orjson.JSONDecodeError, ValueError) as error:
        parser.error(str(error))
    return settings, given.max_seconds


def fault_rule(text: str) -> FaultRule:
    """The rule of one `--fault`.

    >>> fault_rule("reset:every=50,from_s=10")
    FaultRule(fault=<Damage.RESET: 'reset'>, every=50, share=None, seed=0, numbers=None, from_s=10.0, until_s=None)
    """
    name, _, when = text.partition(":")
    fields = dict(part.split("=", 1) for part in when.split(",") if part)
    return FaultRule.model_validate({"fault": name, **fields})


async def run(settings: SimulatorSettings, max_seconds: float) -> None:
    """Serve until a signal, the end of the allowed life, or the death of the parent."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    parent, ends_at = os.getppid(), loop.time() + max_seconds
    async with serving(settings) as simulator:
        print(simulator.base_url)
        for name, url in simulator.roots.items():
            print(f"{name:<11}{url}")
        sys.stdout.flush()
        while os.getppid() == parent and (left := ends_at - loop.time()) > 0 and not over.is_set():
            try:
                await asyncio.wait_for(over.wait(), min(_PARENT_POLL_S, left))
            except TimeoutError:
                continue
        if over.is_set():
            why = "was asked to"
        elif os.getppid() != parent:
            why = "the process that started it is gone"
        else:
            why = f"its {max_seconds:,.0f} s are over; --max-seconds gives it more"
    print(f"the simulator has ended: {why}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> None:
    """The command. Exits with 1 when it may not listen there."""
    settings, max_seconds = parsed(arguments)
    try:
        asyncio.run(run(settings, max_seconds))
    except OSError as error:
        if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
            raise
        sys.exit(f"the simulator cannot listen on port {settings.port}: {os.strerror(error.errno)}; try another --port")


if __name__ == "__main__":
    main(sys.argv[1:])
