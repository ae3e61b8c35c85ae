"""Words of Chinese are found: the analyzer follows the documents, and where it cannot serve, that is told."""

import pytest

from millrace.flows.commands.rebuild import rebuild
from millrace.flows.commands.search.search import search
from millrace.flows.wiring.components import load_model
from millrace.flows.wiring.milvus import open_collection
from tests.flows.prose import chinese, english
from tests.flows.site import Site

QUESTION = "闸门什么时候关闭"


@pytest.fixture
def site(site: Site) -> Site:
    site.overrides = ("embedding.provider=local", "embedding.base_url=", "milvus.hybrid=bm25")
    return site


def analyzer(site: Site, *more: str) -> str:
    settings = site.settings(*more)
    with open_collection(settings, load_model(settings), create=False) as collection:
        return collection.analyzer


def notes(site: Site, *more: str) -> list[str]:
    return [note for note in search(QUESTION, settings=site.settings(*more)).notes if "milvus.analyzer" in note]


def test_chinese_documents_get_a_collection_that_cuts_chinese_into_words(site: Site) -> None:
    site.write("a.txt", chinese(40) + "第三号闸门在洪水之前关闭。")
    site.write("b.txt", english(20))
    report = site.ingest()
    assert (report.exit_code, analyzer(site)) == (0, "chinese")
    assert not [note for note in report.notes if "analyzer" in note]
    assert notes(site) == []
    assert rebuild(site.settings(), into="again", drop=False, quiet=True).exit_code == 0
    assert analyzer(site, "milvus.collection=again") == "chinese"


def test_a_collection_of_other_languages_gets_the_standard_analyzer_and_keeps_it_and_that_is_told(site: Site) -> None:
    site.write("a.txt", english(40))
    assert site.ingest().exit_code == 0
    assert analyzer(site) == "standard"
    site.write("b.txt", chinese(200))
    assert site.ingest().exit_code == 0
    assert analyzer(site) == "standard"
    assert notes(site) != []
    site.write("c.txt", chinese(20, seed=1))
    assert any("switch" in note and "milvus.analyzer" in note for note in site.ingest().notes)


def test_an_analyzer_that_cannot_serve_the_documents_is_warned_of_by_the_run_that_makes_the_collection(
    site: Site,
) -> None:
    site.write("a.txt", chinese(40))
    report = site.ingest("milvus.analyzer=standard")
    assert any("hardly any Chinese word" in note for note in report.notes)
    assert analyzer(site) == "standard"
