"""From the command to the first request that carries a text of the corpus; beside it a script that only does that."""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.row import Row
from tests.flows.prose import english
from tests.flows.site import Site
from tests.simulator.server import running_simulator
from tests.simulator.settings import API_KEY

ROUNDS = 5
FILES = 400
_PATIENCE_S = 60.0

_BARE = """
import sys
from pathlib import Path
from openai import OpenAI
text = next(Path(sys.argv[1]).iterdir()).read_text()
client = OpenAI(base_url=sys.argv[2], api_key=sys.argv[3])
client.embeddings.create(model="text-embedding-v4", input=[text], dimensions=1024, encoding_format="float")
"""


def measure() -> list[Row]:
    """One row: a first run of the command and the script, in turn, each with a provider of its own."""
    ours, cpu, bare = [], [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder, running_simulator() as simulator:
            site = Site(Path(folder), simulator)
            for number in range(FILES):
                site.write(f"{number:04d}.txt", english(110, seed=number))
            before = _cpu_s()
            ours.append(_until_request(site.command("ingest", str(site.corpus)), site))
            cpu.append(_cpu_s() - before)
            with running_simulator() as another:
                script = [sys.executable, "-c", _BARE, str(site.corpus), another.base_url, API_KEY]
                bare.append(_until_request(script, replace(site, simulator=another)))
    our_s, bare_s = statistics.median(ours), statistics.median(bare)
    return [
        Row(
            f"command to first request, {FILES} files, no Prefect server",
            "<= 3 s",
            f"{our_s:.2f} s ({statistics.median(cpu):.2f} s of CPU of the command's own process)",
            f"{bare_s:.2f} s (read a file, ask the SDK)",
            f"{our_s / bare_s:.2f}",
        )
    ]


def _cpu_s() -> float:
    """CPU of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _until_request(command: Sequence[str], site: Site) -> float:
    """Seconds from the start of the command until the provider had a request."""
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=site.process_environment()
    ) as process:
        while not site.simulator.books.requests:
            assert time.perf_counter() - began < _PATIENCE_S, "no request came"
            time.sleep(0.005)
        found = time.perf_counter() - began
        process.kill()
    return found
