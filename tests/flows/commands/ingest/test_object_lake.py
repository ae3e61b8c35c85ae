"""The whole program over a lake of objects."""

from pathlib import Path

import pytest

from millrace.tasks.lake.storage.atomic import write_bytes_atomically
from tests.flows.prose import english
from tests.flows.site import Site
from tests.system.crashes.runs import assert_same_rows
from tests.system.servers.object_fixtures import CREDENTIALS, Bucket


@pytest.fixture
def object_site(site: Site, bucket: Bucket) -> Site:
    """Its lake is in the bucket; eight documents are in."""
    site.overrides = (*bucket.settings(), "embedding.dimensions=64")
    site.environment |= CREDENTIALS
    for number in range(8):
        site.write(f"{number}.md", text(number))
    assert site.ingest().exit_code == 0
    return site


def text(number: int) -> str:
    return f"# Number {number}\n\n" + english(40, number)


def test_a_second_run_asks_for_nothing_and_an_edit_for_what_is_new(object_site: Site) -> None:
    object_site.simulator.reset()
    again = object_site.ingest()
    assert (again.documents.unchanged, again.chunks.embedded, again.chunks.upserted) == (8, 0, 0)
    object_site.write("7.md", text(7) + "\n\nOne sentence more than before.\n")
    (object_site.corpus / "1.md").rename(object_site.corpus / "moved.md")
    edited = object_site.ingest()
    assert (edited.exit_code, edited.documents.removed) == (0, 1)
    assert edited.chunks.embedded <= 3
    assert object_site.simulator.books.texts_bought <= 3
    object_site.check(dimensions=64)


def test_every_command_works_from_the_shell(object_site: Site) -> None:
    corpus = str(object_site.corpus)
    assert "8 unchanged" in object_site.run("plan", corpus).stdout
    verified = object_site.run("verify", corpus)
    assert verified.returncode == 0, verified.stdout
    assert "8 documents" in object_site.run("status").stdout
    assert object_site.run("rejects").returncode == 0
    assert ".md" in object_site.run("search", text(3)[:80]).stdout


def test_another_machine_makes_the_collection_again_without_buying(object_site: Site, bucket: Bucket) -> None:
    embedded = object_site.simulator.books.texts_bought
    there = Site(object_site.folder, object_site.simulator, (*object_site.overrides, *bucket.settings("two")))
    there.overrides = (*there.overrides, f"milvus.uri={object_site.folder / 'other.db'}")
    there.environment = object_site.environment
    rebuilt = there.run("rebuild")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert object_site.simulator.books.texts_bought == embedded
    assert_same_rows(there.rows(), object_site.rows())


def test_damage_is_found_and_healed_from_sources_and_lake(object_site: Site, bucket: Bucket) -> None:
    before = object_site.rows()
    (part,) = [key for key in bucket.objects() if key.startswith("documents/chunks/")]
    write_bytes_atomically((bucket.lake / part).read_bytes()[:-20], bucket.lake / part)
    corpus = str(object_site.corpus)
    assert object_site.run("verify", corpus).returncode == 1
    embedded = object_site.simulator.books.texts_bought
    healed = object_site.run("verify", corpus, "--repair")
    assert healed.returncode == 0, healed.stdout + healed.stderr
    assert object_site.simulator.books.texts_bought == embedded
    assert_same_rows(object_site.rows(), before)


@pytest.mark.parametrize(
    "path", ["s3://", "s3://bucket", "s3://bucket/", "s3://user:word@bucket/lake", "gs://bucket/lake"]
)
def test_an_address_that_cannot_be_a_lake_is_refused_and_not_repeated(site: Site, path: str) -> None:
    site.overrides = (f"lake.path={path}",)
    refused = site.run("status")
    assert refused.returncode == 2
    assert "s3://bucket/prefix" in refused.stderr
    assert "word" not in refused.stderr
    assert not Path("s3:").exists()
