"""`python -m tests.benchmarks [NAME...]`: measure, and print one table. Names are the modules beside this one."""

import importlib
import os
import platform
import subprocess
import sys
import time
import traceback
from importlib.metadata import version

from tests.benchmarks.row import Row, table
from tests.system.servers.milvus_server import NoServer

NAMES = (
    *("standing_still", "first_request", "throughput", "responses", "under_limits", "milvus_writes", "rebuild", "pdf"),
    *("chunk_fill", "edited_line", "killed", "prefect_share", "memory", "growth", "scale", "key_index"),
)


def main(names: list[str]) -> None:
    """Measure the named benchmarks, or all, and print the table with machine and versions."""
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; known: {', '.join(NAMES)}")
    load_before, began = os.getloadavg()[0], time.monotonic()
    rows: list[Row] = []
    for name in names or NAMES:
        print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
        try:
            rows += importlib.import_module(f"tests.benchmarks.{name}").measure()
        except NoServer as reason:
            rows.append(Row(name, "", f"not measured, no Milvus server: {reason}"))
        except (AssertionError, subprocess.SubprocessError) as failure:  # the others are measured all the same
            traceback.print_exception(failure)
            rows.append(Row(name, "", f"FAILED, {type(failure).__name__}: see standard error"))
        print(f"         {time.monotonic() - began:,.0f} s so far", file=sys.stderr, flush=True)
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("pymilvus", "milvus-lite", "openai", "pyarrow", "tiktoken")
    )
    load = ", ".join(f"{value:.1f}" for value in (load_before, os.getloadavg()[0]))
    machine = (
        f"{os.cpu_count()} cores of {platform.machine()}, {platform.system()}; load at the beginning and end {load}"
    )
    print(f"{machine}. Python {platform.python_version()}, {packages}\n\n{table(rows)}")


if __name__ == "__main__":
    main(sys.argv[1:])
