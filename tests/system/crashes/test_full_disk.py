"""A disk that fills up in the middle of a run: told by name, nothing paid for is lost, and the next run goes on.

For real: a small tmpfs in a mount namespace of the runs' own. Where that is not allowed, a limit on file sizes stands for
it.
"""

import json
import subprocess
from pathlib import Path

import pytest

from tests.flows.site import Site
from tests.system.crashes import library
from tests.tasks.lake.test_disk import needs_mount


def run_on_small_disk(site: Site, disk: Path, size: str) -> tuple[int, str, int, str]:
    """Exit code and standard error of a run while `disk` has `size`, and of another when it has grown.

    What is on the disk then is copied to the folder `disk` itself, for the namespace ends with the runs.
    """
    disk.mkdir()
    retained = disk.with_name(disk.name + "-kept")
    script = (
        f"mount -t tmpfs -o size={size} none {disk} || exit 99\n"
        '"$@" 2>first.err >first.out; echo $? >first.code\n'
        f"mount -o remount,size=1g {disk}\n"
        '"$@" 2>second.err >second.out; echo $? >second.code\n'
        f"cp -a {disk} {retained}\n"
    )
    command = site.command("ingest", str(site.corpus), "--json")
    subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *command],
        cwd=site.folder, env=site.process_environment(PATH="/usr/sbin:/usr/bin:/sbin:/bin"), timeout=100, check=True,
    )  # fmt: skip
    disk.rmdir()
    retained.rename(disk)
    codes = [int((site.folder / f"{name}.code").read_text()) for name in ("first", "second")]
    errors = [(site.folder / f"{name}.err").read_text() for name in ("first", "second")]
    return codes[0], errors[0], codes[1], errors[1]


@needs_mount
@pytest.mark.parametrize("part", ["lake", "milvus"])
def test_a_full_disk_stops_the_run_by_name_and_a_larger_one_lets_it_go_on(part: str, site: Site) -> None:
    library.write_first(site.corpus, 200, long=False)
    disk = site.folder / "disk"
    where = f"lake.path={disk / 'lake'}" if part == "lake" else f"milvus.uri={disk / 'milvus.db'}"
    site.overrides = (*site.overrides, "embedding.dimensions=256", where)
    code, error, later, later_error = run_on_small_disk(site, disk, "300k")
    assert code == 1, error
    assert "Traceback" not in error
    assert str(disk) in error
    assert "No space left on device" in error
    assert json.loads((site.folder / "first.out").read_text())["outcome"] == "stopped"
    assert later == 0, later_error
    assert site.simulator.books.texts_bought_again <= 10 * 2
    site.check(dimensions=256, max_tokens=library.MAX_TOKENS)


@pytest.mark.thorough
def test_a_limit_on_file_sizes_does_the_same(site: Site) -> None:
    library.write_first(site.corpus, 100, long=False)
    site.overrides = (*site.overrides, "embedding.dimensions=1024")
    command = ["sh", "-c", 'ulimit -f 256; exec "$@"', "sh", *site.command("ingest", str(site.corpus))]
    limited = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=site.process_environment(), check=False
    )
    assert limited.returncode == 1, limited.stderr
    assert "File too large" in limited.stderr
    assert str(site.lake) in limited.stderr
    assert "Traceback" not in limited.stderr
    assert site.run("ingest", str(site.corpus)).returncode == 0
    assert site.simulator.books.texts_bought_again <= 10 * 2
    site.check(max_tokens=library.MAX_TOKENS)
