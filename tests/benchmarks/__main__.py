"""`python -m tests.benchmarks [NAME...]`: measure, and print one table. Names are the modules beside this one."""

import importlib
import platform
import sys
from importlib.metadata import version

from tests.benchmarks.row import Row, table

NAMES = ("standing_still", "throughput", "under_limits", "milvus_writes", "rebuild", "pdf", "growth", "memory")


def main(names: list[str]) -> None:
    """Measure the named benchmarks, or all, and print the table with machine and versions."""
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; known: {', '.join(NAMES)}")
    rows: list[Row] = []
    for name in names or NAMES:
        rows += importlib.import_module(f"tests.benchmarks.{name}").measure()
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("pymilvus", "milvus-lite", "openai", "pyarrow", "tiktoken")
    )
    print(f"Python {platform.python_version()}, {packages}\n\n{table(rows)}")


if __name__ == "__main__":
    main(sys.argv[1:])
