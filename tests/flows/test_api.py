"""`import millrace`: the commands as functions that return, raise and print nothing."""

import asyncio
import dataclasses
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

import millrace
from millrace.configs.settings import Settings
from millrace.tasks.lake import Lake
from tests.flows.prose import english
from tests.flows.site import ROOT, Site

LEXICAL = ("embedding.provider=local",)


@pytest.fixture
def local(tmp_path: Path) -> Settings:
    """Settings of a place without a key or a network."""
    return millrace.load_settings(
        overrides=[*LEXICAL, f"lake.path={tmp_path / 'lake'}", f"milvus.uri={tmp_path / 'milvus.db'}"], environment={}
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "mill.md").write_text("# The mill\n\nThe spare winding handle hangs behind the door.\n\n" + english(30))
    return folder


def test_every_public_name_is_there_and_no_other() -> None:
    assert [name for name in millrace.__all__ if getattr(millrace, name).__module__.split(".")[0] != "millrace"] == []
    assert set(millrace.__all__) <= set(dir(millrace))
    assert millrace.__all__ == sorted(millrace.__all__)
    with pytest.raises(AttributeError, match="no attribute 'ingests'"):
        _ = millrace.ingests  # type: ignore[attr-defined]


def test_importing_it_imports_nothing_else_and_changes_no_environment_variable() -> None:
    code = (
        "import os, sys; before, modules = dict(os.environ), set(sys.modules); import millrace\n"
        "assert dict(os.environ) == before; print(sorted(m for m in set(sys.modules) - modules if 'millrace' in m))\n"
        "millrace.search, millrace.ingest, millrace.LakeError; assert dict(os.environ) == before\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['millrace']"


def test_help_shows_signatures_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-not-to-be-shown")
    code = "import millrace, pydoc; print(*(pydoc.plain(pydoc.render_doc(getattr(millrace, n))) for n in millrace.__all__))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "load_settings" in shown
    assert "sk-not-to-be-shown" not in shown


def test_the_whole_way_returns_results_and_prints_nothing(
    local: Settings, corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    planned = millrace.plan([corpus], settings=local)
    run = millrace.ingest([str(corpus)], settings=local)
    found = millrace.search("where is the spare handle", settings=local, top_n=1)
    check = millrace.verify([corpus], settings=local)
    again = millrace.rebuild(settings=local, drop=True)
    quality = millrace.evaluate(settings=local, sample=2, depths=(1, 3))
    assert (planned.documents.added, run.documents.added) == (1, 1)
    assert planned.chunks.embedded == run.chunks.embedded > 0
    assert (run.exit_code, check.exit_code, again.exit_code, quality.exit_code) == (0, 0, 0, 0)
    assert "winding handle" in found.hits[0].content
    assert check.agree
    for result in (planned, run, found, check, again, quality):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(result, dataclasses.fields(result)[0].name, "other")
    assert again.upserted == check.rows
    assert capfd.readouterr() == ("", "")


def test_reread_finds_an_edit_that_the_file_system_does_not_tell(local: Settings, corpus: Path) -> None:
    millrace.ingest([corpus], settings=local)
    with Lake.open(Path(local.lake.path), "documents") as lake:  # as if the bytes were others then
        known = lake.manifest.read()
        hashes = pa.array(["0" * 64] * known.num_rows, known.schema.field("file_hash").type)
        lake.manifest.commit(known.set_column(known.schema.get_field_index("file_hash"), "file_hash", hashes), "edited")
    assert millrace.verify([corpus], settings=local).agree
    assert millrace.verify([corpus], settings=local, reread="*").counts == {"changed_file": 1}
    assert millrace.ingest([corpus], settings=local, reread="*.pdf").documents.unchanged == 1
    millrace.ingest([corpus], settings=local, reread="*.md")
    assert millrace.verify([corpus], settings=local, reread="*").agree


def test_it_works_where_an_event_loop_runs(local: Settings, corpus: Path) -> None:
    async def in_a_loop() -> tuple[int, int]:
        run = millrace.ingest([corpus], settings=local)
        found = await millrace.asearch("spare handle", settings=local)
        return run.documents.added, len(found.hits)

    added, hits = asyncio.run(in_a_loop())
    assert added == 1
    assert hits > 0


def test_a_run_that_stops_raises_with_its_summary(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", site.environment["DASHSCOPE_API_KEY"])
    site.write("a.md", "# A\n\n" + english(200))
    with pytest.raises(millrace.BudgetReached) as stopped:
        millrace.ingest([site.corpus], settings=site.settings(), max_cny=0.0)
    assert isinstance(stopped.value.summary, millrace.RunSummary)
    assert stopped.value.summary.outcome == "budget"
    with pytest.raises(millrace.ConfigurationError, match="no source"):
        millrace.ingest([], settings=site.settings())
    with pytest.raises(millrace.ConfigurationError, match="not both"):
        millrace.plan([site.corpus], settings=site.settings(), config="millrace.toml")


USER_SCRIPT = """
import asyncio
import millrace

settings: millrace.Settings = millrace.load_settings(overrides=["search.top_n=2"])
also: millrace.Settings = millrace.Settings(embedding={"provider": "local"})
summary: millrace.RunSummary = millrace.ingest(["docs"], settings=settings, max_cny=5)
cost: float = summary.cost_cny + summary.documents.added
planned: millrace.Plan = millrace.plan(["docs"], config="millrace.toml")
hits: tuple[millrace.SearchHit, ...] = millrace.search("q", settings=settings).hits
found: millrace.SearchResult = asyncio.run(millrace.asearch("q", top_n=1))
agree: bool = millrace.verify(settings=settings).agree
rows: int = millrace.rebuild(into="other").rows
quality: millrace.EvaluationResult = millrace.evaluate(sample=20)
code: int = millrace.ExitCode.REJECTS + quality.exit_code
try:
    millrace.ingest(["docs"])
except (millrace.BudgetReached, millrace.MillraceError) as error:
    reveal_type(error.exit_code)
"""


def test_a_users_script_types_strictly_against_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(USER_SCRIPT)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache" / "user"), str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout
    assert "ExitCode" in done.stdout


def test_a_users_mistake_does_not_type(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import millrace\nmillrace.search(1)\nmillrace.ingests([])\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache" / "user"), str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=110)
    assert 'Argument 1 to "search" has incompatible type "int"' in done.stdout
    assert 'has no attribute "ingests"' in done.stdout
