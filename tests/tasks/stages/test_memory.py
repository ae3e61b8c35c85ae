"""What a process is set to before it works."""

import subprocess
import sys

from tests.flows.site import ROOT

_SCRIPT = """
import sys
from millrace.flows.cli.environment import set_variables
set_variables()
from millrace.tasks.stages.memory import configure_allocator, release_free_memory
configure_allocator()
configure_allocator()
release_free_memory()
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


_IMPORT_ALL = """
import importlib, os, pkgutil
import millrace
before = dict(os.environ)
for module in pkgutil.walk_packages(millrace.__path__, "millrace."):
    if not module.name.startswith("millrace.data."):
        importlib.import_module(module.name)
print({name for name in before.keys() | os.environ.keys() if before.get(name) != os.environ.get(name)})
"""


def test_importing_millrace_changes_no_environment_variable() -> None:
    libraries = "import prefect, pymilvus, matplotlib, sklearn"  # whatever these set is theirs
    assert run(f"{libraries}" + _IMPORT_ALL, PATH="/usr/bin:/bin", HOME="/nonexistent") == "set()"
