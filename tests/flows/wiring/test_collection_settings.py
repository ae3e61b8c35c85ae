"""A collection is gone on with as it was made, and never embedded anew without a word."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import millrace
from millrace.configs.settings import Settings
from millrace.flows.commands.rejects import retry_rejects
from millrace.flows.commands.status import lake_status
from millrace.flows.serve import Schedule, serve_corpus
from millrace.flows.wiring.collection_settings import with_remembered
from millrace.tasks.errors import ConfigurationError
from tests.flows.prose import english
from tests.flows.site import Site, json_of


class Corner:
    """A folder with a corpus, and settings that say where the lake and Milvus are, and nothing of the embedding."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.corpus = folder / "docs"
        self.corpus.mkdir()
        (self.corpus / "a.md").write_text("# The mill\n\nThe spare handle hangs behind the door.\n\n" + english(30))

    def settings(self, *overrides: str) -> Settings:
        places = [f"lake.path={self.folder / 'lake'}", f"milvus.uri={self.folder / 'milvus.db'}"]
        return millrace.load_settings(overrides=[*places, *overrides], environment={})

    @property
    def remembered(self) -> Path:
        return self.folder / "lake" / "documents" / "settings.json"


@pytest.fixture
def corner(tmp_path: Path) -> Corner:
    return Corner(tmp_path)


def test_settings_that_are_left_out_are_those_that_the_collection_was_made_with(corner: Corner) -> None:
    """The same command without its settings embedded the whole collection anew, and reported "70 changed"."""
    made_with = ["chunking.max_tokens=64", "chunking.overlap_tokens=8", "milvus.metric=IP"]
    millrace.ingest([corner.corpus], settings=corner.settings(*made_with))
    again = millrace.ingest([corner.corpus], settings=corner.settings())
    assert (again.documents.unchanged, again.chunks.embedded, again.chunks.upserted) == (1, 0, 0)
    assert millrace.verify([corner.corpus], settings=corner.settings()).agree
    assert millrace.plan([corner.corpus], settings=corner.settings()).documents.unchanged == 1
    found = millrace.search("where is the spare handle", settings=corner.settings())
    assert found.score_kind == "ip"
    assert "spare handle" in found.hits[0].content
    millrace.rebuild(settings=corner.settings(), drop=True)
    assert millrace.evaluate(settings=corner.settings(), sample=2).exit_code == 0
    assert with_remembered(corner.settings()).chunking.overlap_tokens == 8


@pytest.mark.parametrize(
    ("override", "before"),
    [
        ("embedding.provider=dashscope", "embedding.provider=local"),
        ("chunking.max_tokens=64", "chunking.max_tokens=512"),
        ("chunking.overlap_tokens=10", "chunking.overlap_tokens=0"),
        ("chunking.sections=pack", "chunking.sections=apart"),
        ("milvus.content_max_bytes=512", "milvus.content_max_bytes=8192"),
    ],
)
def test_another_embedding_is_refused_with_what_differs_and_both_ways_on(
    corner: Corner, override: str, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-0123456789abcdef")
    (corner.corpus / "empty.txt").write_text("")
    millrace.ingest([corner.corpus], settings=corner.settings())
    files = sorted((path, path.stat().st_mtime_ns) for path in corner.folder.rglob("*.parquet"))
    changed = corner.settings(override)
    attempts: list[Callable[[], object]] = [
        lambda: millrace.ingest([corner.corpus], settings=changed),
        lambda: retry_rejects(changed, reason="", quiet=True),
        lambda: millrace.verify([corner.corpus], settings=changed, repair=True),
        lambda: serve_corpus(changed, [corner.corpus], config=None, schedule=Schedule("", "", "UTC")),
    ]
    for attempt in attempts:
        with pytest.raises(ConfigurationError, match="made with .*" + before) as refused:
            attempt()
        message = str(refused.value)
        assert override in message
        assert f"--set {before}" in message
        assert "--change-embedding" in message
        assert "millrace switch" in message
    assert sorted((path, path.stat().st_mtime_ns) for path in corner.folder.rglob("*.parquet")) == files
    assert any("--change-embedding" in note for note in millrace.plan([corner.corpus], settings=changed).notes)


def test_a_change_that_is_asked_for_is_made_and_remembered(corner: Corner) -> None:
    millrace.ingest([corner.corpus], settings=corner.settings())
    smaller = corner.settings("chunking.max_tokens=64")
    changed = millrace.ingest([corner.corpus], settings=smaller, change_embedding=True)
    assert changed.documents.changed == 1
    again = millrace.ingest([corner.corpus], settings=corner.settings())
    assert (again.documents.unchanged, again.chunks.embedded) == (1, 0)
    assert json.loads(corner.remembered.read_text())["chunking"]["max_tokens"] == 64


def test_the_same_settings_said_again_are_no_change(corner: Corner) -> None:
    millrace.ingest([corner.corpus], settings=corner.settings())
    said = ["embedding.provider=local", "embedding.dimensions=1024", "chunking.max_tokens=512", "milvus.metric=COSINE"]
    assert millrace.ingest([corner.corpus], settings=corner.settings(*said)).documents.unchanged == 1


def test_a_lake_of_the_default_model_of_earlier_versions_goes_on_with_it(corner: Corner) -> None:
    """There the default was remembered as the empty name, and its vectors have other bits than today's."""
    millrace.ingest([corner.corpus], settings=corner.settings("embedding.model=lexical-hashing-v1"))
    remembered = json.loads(corner.remembered.read_text())
    remembered["embedding"]["model"] = ""
    corner.remembered.write_text(json.dumps(remembered))
    for said in ([], ["embedding.model="], ["embedding.model=lexical-hashing-v1"]):
        again = millrace.ingest([corner.corpus], settings=corner.settings(*said))
        assert (again.documents.unchanged, again.chunks.embedded) == (1, 0)
    assert "spare handle" in millrace.search("the spare handle", settings=corner.settings()).hits[0].content
    other = millrace.ingest([corner.corpus], settings=corner.settings("milvus.collection=other"))
    assert other.chunks.embedded == 0  # a new collection of that lake takes its vectors
    with pytest.raises(ConfigurationError, match=r"made with embedding\.model=lexical-hashing-v1"):
        millrace.ingest([corner.corpus], settings=corner.settings("embedding.model=lexical-hashing-v2"))


def test_a_lake_of_a_version_that_knew_no_packed_sections_goes_on_with_them_apart(corner: Corner) -> None:
    (corner.corpus / "b.md").write_text("".join(f"# Part {n}\n\n{english(8, seed=n)}\n\n" for n in range(6)))
    first = millrace.ingest([corner.corpus], settings=corner.settings("chunking.sections=apart"))
    remembered = json.loads(corner.remembered.read_text())
    del remembered["chunking"]["sections"]
    corner.remembered.write_text(json.dumps(remembered))
    again = millrace.ingest([corner.corpus], settings=corner.settings())
    assert (again.documents.unchanged, again.chunks.embedded, again.chunks.upserted) == (2, 0, 0)
    corner.remembered.unlink()
    for run in (corner.folder / "lake" / "documents").rglob("run*.json"):
        run.unlink()
    assert with_remembered(corner.settings()).chunking.sections == "apart"
    packed = millrace.ingest([corner.corpus], settings=corner.settings("chunking.sections=pack"), change_embedding=True)
    assert packed.chunks.total < first.chunks.total
    assert json.loads(corner.remembered.read_text())["chunking"]["sections"] == "pack"
    assert millrace.ingest([corner.corpus], settings=corner.settings()).documents.unchanged == 2


def test_the_default_model_of_a_new_lake_is_remembered_by_its_name(corner: Corner) -> None:
    millrace.ingest([corner.corpus], settings=corner.settings())
    assert json.loads(corner.remembered.read_text())["embedding"]["model"] == "lexical-hashing-v2"
    said = millrace.ingest([corner.corpus], settings=corner.settings("embedding.model="))
    assert said.documents.unchanged == 1


def test_a_first_run_that_brought_nothing_in_binds_nobody(corner: Corner) -> None:
    empty = corner.folder / "nothing"
    empty.mkdir()
    (empty / "a.txt").write_text("")
    millrace.ingest([empty], settings=corner.settings("chunking.max_tokens=64"))
    run = millrace.ingest([corner.corpus], settings=corner.settings())
    assert run.documents.added == 1
    assert with_remembered(corner.settings()).chunking.max_tokens == 512


@pytest.mark.parametrize("damaged", [False, True])
def test_a_lake_of_an_earlier_version_goes_by_its_last_run(corner: Corner, *, damaged: bool) -> None:
    millrace.ingest([corner.corpus], settings=corner.settings("chunking.max_tokens=64"))
    if damaged:
        corner.remembered.write_bytes(b"\0" + corner.remembered.read_bytes()[1:])
    else:
        corner.remembered.unlink()
    again = millrace.ingest([corner.corpus], settings=corner.settings())
    assert (again.documents.unchanged, again.chunks.embedded) == (1, 0)
    corner.remembered.unlink()
    with pytest.raises(ConfigurationError, match=r"chunking\.max_tokens=64"):
        millrace.ingest([corner.corpus], settings=corner.settings("chunking.max_tokens=32"))


def test_a_rebuilt_shape_is_remembered(corner: Corner) -> None:
    millrace.ingest([corner.corpus], settings=corner.settings())
    millrace.rebuild(settings=corner.settings("milvus.index=FLAT", "milvus.metric=IP"), drop=True)
    (corner.corpus / "b.md").write_text("# B\n\n" + english(20))
    assert millrace.ingest([corner.corpus], settings=corner.settings()).documents.added == 1
    assert millrace.search("mill", settings=corner.settings()).score_kind == "ip"


def test_a_shape_that_milvus_refuses_is_not_remembered(corner: Corner) -> None:
    millrace.ingest([corner.corpus], settings=corner.settings())
    with pytest.raises(millrace.CollectionError):
        millrace.search("mill", settings=corner.settings("milvus.metric=IP"))
    (corner.corpus / "b.md").write_text("# B\n\n" + english(20))
    with pytest.raises(millrace.RunStopped):
        millrace.ingest([corner.corpus], settings=corner.settings("milvus.metric=IP"))
    assert millrace.ingest([corner.corpus], settings=corner.settings()).documents.added == 1


def test_status_names_the_model(corner: Corner) -> None:
    millrace.ingest([corner.corpus], settings=corner.settings())
    shown = lake_status(corner.settings())
    assert (shown.provider, shown.dimensions) == ("local", 1024)
    assert any("1,024 dimensions" in line and shown.model in line for line in shown.lines())
    other = lake_status(corner.settings("embedding.provider=dashscope"))
    assert (other.provider, other.model, len(other.notes)) == ("local", shown.model, 1)
    assert "the settings say embedding.provider=dashscope" in other.notes[0]


def test_the_forgotten_environment_does_not_end_in_word_hashes(site: Site) -> None:
    site.write("a.md", "# The mill\n\nThe spare handle hangs behind the door.\n\n" + english(30))
    assert site.run("ingest", str(site.corpus), "--json").returncode == 0
    places = ["--set", f"lake.path={site.lake}", "--set", f"milvus.uri={site.folder / 'milvus.db'}"]
    command = [sys.executable, "-m", "millrace.flows.cli.main", "ingest", str(site.corpus), "--json", *places]
    again = subprocess.run(
        command, env=site.process_environment(), capture_output=True, text=True, timeout=100, check=False
    )
    assert again.returncode == 0, again.stderr
    report = json_of(again)
    assert report["model"] == "text-embedding-v4"
    assert (report["documents"]["unchanged"], report["requests"]["sent"]) == (1, 0)
    refused = subprocess.run(
        [*command, "--set", "embedding.provider=local"],
        env=site.process_environment(), capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "embedding.provider=dashscope" in json_of(refused)["error"]


def test_where_nothing_else_is_known_the_documents_say_it(site: Site) -> None:
    site.write("a.md", "# A\n\n" + english(30))
    site.ingest()
    (site.lake / "documents" / "settings.json").unlink()
    shutil.rmtree(site.lake / "documents" / "runs")
    places = [f"lake.path={site.lake}", f"milvus.uri={site.folder / 'milvus.db'}"]
    with pytest.raises(ConfigurationError, match=r"are in the embedding space text-embedding-v4-1024.*--change-emb"):
        millrace.ingest([site.corpus], settings=millrace.load_settings(overrides=places, environment={}))
    assert site.ingest().documents.unchanged == 1
