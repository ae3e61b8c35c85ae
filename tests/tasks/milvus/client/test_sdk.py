"""What the import of pymilvus leaves alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

IMPORTED = """
import logging, logging.config, threading

class Watched(logging.Handler):
    told = []
    def flush(self):
        # What a handler that waits for another thread needs: that thread may ask for a logger.
        asking = threading.Thread(target=logging.getLogger, args=("of another thread",), daemon=True)
        asking.start()
        asking.join(5)
        self.told.append("stuck" if asking.is_alive() else "flushed")
    def close(self):
        self.told.append("closed")
        super().close()

configurator = logging.config.dictConfigClass
watched = Watched()
logging.getLogger("somebody").addHandler(watched)
import millrace.tasks.milvus.client.sdk
print(watched.told, logging.config.dictConfigClass is configurator, logging.getLogger("pymilvus").handlers)
Watched.flush = Watched.close = lambda self: None
"""


def test_importing_pymilvus_leaves_the_logging_of_the_process_as_it_is() -> None:
    output = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True, timeout=120)
    assert output.stdout.strip() == "[] True []", output.stderr


def test_while_pymilvus_is_imported_others_may_configure_logging() -> None:
    script = (
        "import logging.config, sys\n"
        "class Other:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'pymilvus':\n"
        "            logging.config.dictConfig({'version': 1, 'loggers': {'other': {'level': 'ERROR'}}})\n"
        "sys.meta_path.insert(0, Other())\n"
        "import millrace.tasks.milvus.client.sdk\n"
        "print(logging.getLogger('other').level)\n"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert output.stdout.strip() == "40", output.stderr


@pytest.mark.parametrize(("chosen", "expected"), [("", str(32 << 20)), ("1000000", "1000000")])
def test_milvus_lite_writes_out_little_at_a_time_unless_told_otherwise(
    chosen: str, expected: str, tmp_path: Path
) -> None:
    name = "MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES"
    script = (
        "import os; from millrace.tasks.milvus.client import lite\n"
        f"before = dict(os.environ); lite.acquire({str(tmp_path / 'milvus.db')!r}).release()\n"
        "from milvus_lite.constants import MEMTABLE_MEMORY_LIMIT\n"
        "print(MEMTABLE_MEMORY_LIMIT if dict(os.environ) == before else 'the environment has changed')"
    )
    environment = {key: value for key, value in os.environ.items() if key != name} | ({name: chosen} if chosen else {})
    output = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120, env=environment
    )
    assert output.stdout.strip() == expected, output.stderr
