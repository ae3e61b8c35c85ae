"""What a process is set to before it works."""

import subprocess
import sys

import pytest

from tests.flows.site import ROOT

_SCRIPT = """
import sys
from tasks.process import prepare, trim
prepare()
prepare()
trim()
import pyarrow as pa
table = pa.table({"a": pa.array(["x"])})
assert table.to_pylist() == [{"a": "x"}]
print("pandas" in sys.modules, pa.default_memory_pool().backend_name)
import pandas as pd
assert pa.array(pd.Series([1, 2]).tolist()).to_pylist() == [1, 2]
"""


def run(script: str = _SCRIPT, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_arrow_does_not_bring_pandas_and_gives_memory_back() -> None:
    assert run(PATH="/usr/bin:/bin") == "False system"


def test_an_allocator_that_the_user_chose_stands() -> None:
    assert run(PATH="/usr/bin:/bin", ARROW_DEFAULT_MEMORY_POOL="mimalloc") == "False mimalloc"


@pytest.mark.parametrize("first", ["flows.pipeline", "flows.parameters", "tasks.lake", "tasks.chunk", "tasks.records"])
def test_all_of_arrow_gives_memory_back_whichever_module_is_imported_first(first: str) -> None:
    # Nothing is prepared here: what Arrow found when it was imported is what it uses within.
    script = f"import {first}; import pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    assert run(script, PATH="/usr/bin:/bin") == "system"
