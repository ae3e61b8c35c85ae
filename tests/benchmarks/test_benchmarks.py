"""What the benchmarks are built on works; what they measure is not looked at here."""

import subprocess
import sys
from pathlib import Path

from tests.flows.site import ROOT, json_of


def test_the_stand_in_for_milvus_takes_all_rows(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "mill.txt").write_text("The sluice is opened at dawn.")
    sets = ["--set", f"lake.path={tmp_path}/lake", "--set", f"milvus.uri={tmp_path}/milvus.db"]
    command = [sys.executable, "-m", "tests.benchmarks.without_milvus", "ingest", str(tmp_path / "corpus"), "--json"]
    done = subprocess.run([*command, *sets], capture_output=True, text=True, cwd=ROOT, timeout=100, check=False)
    assert json_of(done)["chunks"]["upserted"] == 1, done.stderr
    assert not (tmp_path / "milvus.db").exists()
