"""Law: what only looks writes nothing."""

from pathlib import Path

from click.testing import CliRunner

from millrace.flows.cli.main import millrace
from tests.flows.prose import english
from tests.flows.site import Site

LOOKING = (
    ("plan", "corpus"),
    ("verify", "corpus"),
    ("status",),
    ("search", "the miller"),
    ("rejects", "list"),
)


def below(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of each file, and the folders, below `folder`."""
    return {
        str(path.relative_to(folder)): (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def test_plan_verify_status_report_search_and_rejects_change_no_byte_below_the_lake(site: Site, tmp_path: Path) -> None:
    site.write("a.txt", english(12))
    site.write("b.md", "# Mill\n\n" + english(8, seed=1))
    site.write("empty.txt", b"")
    site.ingest()
    site.write("a.txt", english(12, seed=2))
    sets = [part for assignment in site.assignments() for part in ("--set", assignment)]
    before = below(site.lake)
    for command in LOOKING:
        words = [str(site.corpus) if word == "corpus" else word for word in command]
        done = CliRunner().invoke(millrace, [*words, *sets], env=site.environment)
        assert not isinstance(done.exception, Exception), (command, done.output, done.exception)
        assert done.output, command
        assert below(site.lake) == before, command
    done = CliRunner().invoke(millrace, ["report", "--out", str(tmp_path / "page.html"), *sets], env=site.environment)
    assert (done.exit_code, (tmp_path / "page.html").exists(), below(site.lake)) == (0, True, before), done.output
