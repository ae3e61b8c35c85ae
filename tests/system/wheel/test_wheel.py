"""The wheel is whole: installed alone, it works from any directory."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.flows.prose import chinese

ROOT = Path(__file__).parents[3]


def test_the_wheel_carries_catalogue_defaults_and_ranks(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=100)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert wheel.stat().st_size < 3_000_000
    with zipfile.ZipFile(wheel) as packed:
        assert {
            "millrace/tasks/documents/pdf/cid/GB1.xz",
            "millrace/data/qwen.tiktoken",
            "millrace/configs/models.toml",
        } <= set(packed.namelist())
    site = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True, timeout=100)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.txt").write_text(chinese(40), encoding="utf-8")
    command = [str(site / "bin" / "millrace"), "plan", "a.txt", "--set", "embedding.provider=dashscope"]
    done = subprocess.run(
        command, cwd=elsewhere, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 to add" in done.stdout
    script = "import millrace.flows.cli.main, sys; print(millrace.flows.cli.main.__file__)"
    where = subprocess.run(
        [sys.executable, "-c", script], cwd=elsewhere, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=True
    )  # fmt: skip
    assert where.stdout.startswith(str(site))
