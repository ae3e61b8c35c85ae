"""An index is proved by its own sentences, and shows its faults: shifted vectors, a row of another model."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from millrace.configs.settings import Settings
from millrace.flows.commands.evaluate import queries
from millrace.flows.commands.evaluate.evaluate import EvaluationOptions, evaluate, history
from millrace.flows.commands.evaluate.report import EvaluationResult
from millrace.flows.commands.search.retrieve import retrieve
from millrace.flows.wiring.components import load_model
from millrace.flows.wiring.milvus import open_collection
from millrace.tasks.errors import BudgetReached, CollectionMissing, ConfigurationError, MillraceError, RunStopped
from millrace.tasks.lake import Lake
from millrace.tasks.milvus import Collection, Hit
from millrace.tasks.records import text_key
from tests.flows.prose import english
from tests.flows.site import ROOT, Site, json_of
from tests.simulator.faults import FaultRule
from tests.simulator.refusals import Reason

LOCAL = ("embedding.provider=local", "embedding.base_url=")
Vectors = npt.NDArray[np.float32]


@pytest.fixture
def sample(site: Site) -> Site:
    """The sample corpus, embedded by the provider `local`."""
    site.overrides = LOCAL
    assert site.ingest(sources=[ROOT / "data" / "sample"]).exit_code == 0
    return site


@pytest.fixture
def office(site: Site) -> Site:
    """Ten documents at the simulated provider, whose vectors know nothing, and whose reranker knows words."""
    for number in range(10):
        site.write(f"{number}.md", f"# {number}\n\n" + english(4, seed=number))
    assert site.ingest().exit_code == 0
    return site


def asked(site: Site, *more: str, say: Callable[[str], None] = lambda _: None, **options: object) -> EvaluationResult:
    return evaluate(site.settings(*more), EvaluationOptions(**options), say=say, quiet=True)  # type: ignore[arg-type]


def plant(site: Site, change: Callable[[Vectors], Vectors]) -> list[str]:
    """Change the vectors of the collection behind the lake's back; the ids, in the order of the vectors.

    That is the order of the texts: ids are made of paths, and so lie otherwise in another checkout.
    """
    settings = site.settings()
    with open_collection(settings, load_model(settings), create=False) as collection:
        rows = [row for ids in collection.ids() for row in collection.fetch(ids, with_vectors=True)]
        rows.sort(key=lambda row: row.content)
        table = pa.table(
            {
                "id": [row.id for row in rows],
                "content": [row.content for row in rows],
                "metadata": [json.dumps(row.metadata, ensure_ascii=False) for row in rows],
            }
        )
        vectors = np.stack([row.vector for row in rows if row.vector is not None])
        collection.upsert(table, change(vectors).astype(np.float32))
    return [row.id for row in rows]


def test_a_sound_index_is_found_by_its_own_sentences(sample: Site) -> None:
    report = asked(sample)
    assert report.retrieved.hit_at_1 >= 0.95
    assert report.retrieved.recall[20] >= 0.99
    assert report.verdict.startswith("sound")
    assert report.suspicious == []
    assert report.retrieved.questions + sum(report.skipped.values()) == report.chunks == 129
    assert len(report.sources) == 12
    assert report.exit_code == 0


def test_vectors_shifted_by_one_row_show_and_the_verdict_says_what_that_means(sample: Site) -> None:
    plant(sample, lambda vectors: np.roll(vectors, 1, axis=0))
    report = asked(sample, min_self_hit=0.9)
    assert report.retrieved.hit_at_1 < 0.1
    assert report.verdict.startswith("broken")
    assert "shifted" in report.verdict
    assert "millrace verify --repair" in report.verdict
    assert report.exit_code == 1


def test_vectors_shifted_in_the_lake_too_are_told_from_those_that_verify_can_heal(sample: Site) -> None:
    """The vectors were on the wrong texts before they were kept: lake and collection agree."""
    ids = plant(sample, lambda vectors: np.roll(vectors, 1, axis=0))
    shift_lake(sample, ids)
    report = asked(sample)
    assert report.retrieved.hit_at_1 < 0.1
    assert "verify` finds no fault" in report.verdict
    assert f"vectors/{report.space}" in report.verdict


def shift_lake(site: Site, ids: list[str]) -> None:
    """Keep in the lake what the collection holds: each vector under the key of its row's text."""
    rows = site.rows()
    space = load_model(site.settings()).space
    shutil.rmtree(site.lake / "vectors" / space.name)
    with Lake.open(site.lake, "documents") as lake, lake.vectors(space) as store:
        keys = [text_key(rows[row_id].content) for row_id in ids]
        asyncio.run(store.append(keys, np.stack([rows[row_id].vector for row_id in ids]), [1] * len(keys)))


def test_rows_that_the_index_passes_over_are_told_from_a_weak_model(
    sample: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An approximate index may miss the nearest row; 5 of 200 sentences were lost like that in 7,071 chunks."""

    def forgetful(settings: Settings, collection: Collection, query: str, *more: Any, **options: Any) -> list[Hit]:
        return retrieve(settings, collection, query, *more, **options)[int(len(query) % 5 == 0) :]

    monkeypatch.setattr(queries, "retrieve", forgetful)
    report = asked(sample)
    passed_over = [one for one in report.asked if one.passed_over]
    assert len(passed_over) == len(report.misses) > 6
    assert f"{len(passed_over)} of them are nearer than what came first" in report.verdict
    assert "milvus.hnsw_ef" in report.verdict
    assert any("the index passed it over" in line for line in report.lines())


def test_a_row_of_another_model_is_named_among_the_suspicious(sample: Site) -> None:
    alien = 50

    def exchange(vectors: Vectors) -> Vectors:
        vectors[alien] = np.random.default_rng(1).normal(size=vectors.shape[1])
        return vectors

    row_id = plant(sample, exchange)[alien]
    report = asked(sample)
    (suspicious,) = report.suspicious
    assert suspicious.id == row_id
    assert suspicious.row == "differs_from_lake"
    assert suspicious.own_similarity is not None
    assert suspicious.own_similarity < 0.15
    assert suspicious.first is not None
    assert "one vector does not look like the text of the row" in report.verdict
    assert suspicious.question in "\n".join(report.lines()) or len(suspicious.question) > 160


def test_a_sample_is_drawn_from_every_file_the_same_for_the_same_seed(sample: Site) -> None:
    one, same, other = (asked(sample, sample=24, seed=seed) for seed in (5, 5, 6))
    assert [a.id for a in one.asked] == [a.id for a in same.asked] != [a.id for a in other.asked]
    assert len(one.sources) == 12
    assert one.basis.startswith(f"{len(one.asked)} of 129 chunks of 12 files")
    assert len(one.asked) in (23, 24)  # ids are made of paths, and so is the draw: one chunk has no sentence to ask by


def test_every_evaluation_is_kept_and_shown_with_its_change(sample: Site) -> None:
    asked(sample)
    plant(sample, lambda vectors: np.roll(vectors, 1, axis=0))
    asked(sample, sample=20)
    asked(sample)
    past = history(sample.settings())
    assert [e.result["series"] for e in past.evaluations] == [
        "sample 200, seed 0",
        "sample 20, seed 0",
        "sample 200, seed 0",
    ]
    shown = "\n".join(past.lines())
    assert "self-hit@1 0.000 (-1.000)" in shown
    assert shown.count("(-1.000)") >= 1
    printed = json_of(sample.run("eval", "--history", "--json"))
    assert len(printed["evaluations"]) == 3
    assert printed["evaluations"][0]["retrieved"]["self_hit_at_1"] == 0.0


def test_the_command_prints_a_table_and_json_is_complete(sample: Site) -> None:
    done = sample.run("eval", "--sample", "12", "--k", "1,3")
    assert done.returncode == 0, done.stderr
    assert "self-hit@1" in done.stdout
    assert "recall@3" in done.stdout
    assert "verdict    sound" in done.stdout
    found = json_of(sample.run("eval", "--sample", "12", "--json", "--min-self-hit", "0.5"))
    assert found.keys() >= {
        "run",
        "retrieved",
        "reranked",
        "sources",
        "misses",
        "suspicious",
        "skipped",
        "asked",
        "verdict",
    }
    assert found["retrieved"]["recall"].keys() == {"1", "5", "10", "20"}
    assert len(found["asked"]) + sum(found["skipped"].values()) == 12
    assert found["asked"][0].keys() >= {"source", "chunk_number", "retrieved_rank", "own_similarity", "row"}


# With a provider: price, budget, reranking


def test_the_price_is_said_before_and_the_same_evaluation_costs_nothing_twice(office: Site) -> None:
    said: list[str] = []
    before = office.simulator.books.tokens_billed
    first = asked(office, say=said.append, rerank=False)
    paid = office.simulator.books.tokens_billed - before
    assert paid == first.tokens_billed > 0
    assert f"{paid:,} tokens of text-embedding-v4" in said[0]
    again = asked(office, say=said.append, rerank=False)
    assert (again.tokens_billed, len(said)) == (0, 1)
    assert again.retrieved == first.retrieved
    assert office.simulator.books.texts_bought_again == 0


def test_reranking_is_measured_beside_retrieval_and_billed(office: Site) -> None:
    report = asked(office)
    assert report.reranker == "qwen3-rerank"
    assert report.reranked is not None
    assert report.retrieved.hit_at_1 < 0.7 < report.reranked.hit_at_1
    assert report.final is report.reranked
    assert report.retrieved.recall[20] == report.reranked.recall[20] == 1.0
    billed = {
        bill.model: bill
        for bill in Lake.open(office.lake, "documents", read_only=True).usage.oldest_first()
        if bill.run == report.run
    }
    books = office.simulator.books
    assert billed["qwen3-rerank"].tokens_billed == books.rerank.tokens_billed
    assert billed["qwen3-rerank"].requests == books.rerank.requests == report.retrieved.questions
    assert report.cost_cny == pytest.approx(sum(bill.cost_cny for bill in billed.values()))


def test_a_budget_stops_before_anything_is_bought(office: Site) -> None:
    requests = office.simulator.books.requests
    with pytest.raises(BudgetReached, match="nothing was embedded"):
        asked(office, "budget.max_cny=0.0001")
    assert office.simulator.books.requests == requests
    office.overrides = ("budget.max_cny=0.0001",)
    assert office.run("eval", "--json").returncode == 4


def test_a_reranker_that_fails_is_an_error_here(office: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", "sk-wrong")
    with pytest.raises(MillraceError, match="401"):
        asked(office, "rerank.api_key_env=OTHER_KEY")
    assert history(office.settings()).evaluations == ()


def test_a_provider_in_trouble_is_waited_for(office: Site) -> None:
    office.simulator.change({"faults": [FaultRule(fault=Reason.INTERNAL_ERROR, every=2)]})
    report = asked(office, rerank=False)
    assert report.retrieved.questions == 10


def test_words_that_hide_broken_vectors_do_not_hide_them_from_the_verdict(site: Site) -> None:
    """A hybrid index finds its chunks by their words, whatever its dense vectors are."""
    site.overrides = ("milvus.hybrid=bm25", "embedding.api=native")
    for number in range(30):
        site.write(f"{number}.md", f"# {number}\n\n" + english(4, seed=number))
    site.ingest()
    report = asked(site)
    assert report.reranked is not None
    assert report.reranked.hit_at_1 >= 0.95
    assert len(report.suspicious) > 15
    assert report.verdict.startswith("broken, though")
    spaces = {summary.space.text_type for summary in Lake.open(site.lake, "documents", read_only=True).spaces()}
    assert spaces == {"document", "query"}


# Written questions


def questions(site: Site, *lines: dict[str, object]) -> Path:
    path = site.folder / "questions.jsonl"
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n", encoding="utf-8")
    return path


def test_questions_find_their_sources_and_the_others_are_named(sample: Site) -> None:
    path = questions(
        sample,
        {"question": "where is the spare winding handle kept", "sources": ["flood-and-low-water-plan.pdf"]},
        {"question": "水斗板和木齿的含水率控制在多少", "sources": ["restoration-report.zh.pdf"], "relevance": [3]},
        {"question": "how high may the water rise", "sources": ["data/sample/nowhere.md", "race-and-sluices.md"]},
    )
    report = asked(sample, questions=path)
    assert report.retrieved.ndcg_at_10 is not None
    assert report.retrieved.recall[20] == pytest.approx((1 + 1 + 0.5) / 3)
    (missed,) = report.misses
    assert (missed.line, missed.not_found) == (3, ("data/sample/nowhere.md",))
    assert any("line 3 expects data/sample/nowhere.md" in note for note in report.notes)
    shown = "\n".join(report.lines())
    assert "nDCG@10" in shown
    assert "line 3" in shown
    assert "2 of 3 questions" in report.verdict


def test_the_history_compares_the_same_questions_only(sample: Site, tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    for text in ("where is the spare handle", "where is the spare handle kept", "where is the spare handle kept"):
        path.write_text(json.dumps({"question": text, "sources": ["flood-and-low-water-plan.pdf"]}))
        asked(sample, questions=path)
    retrieved = [line for line in history(sample.settings()).lines() if line.lstrip().startswith("retrieved")]
    assert ["(+0.000)" in line for line in retrieved] == [True, False, False]


def test_a_bad_line_is_told_before_anything_is_bought(office: Site) -> None:
    path = questions(office, {"question": "a", "sources": ["0.md"]}, {"question": "b"})
    requests = office.simulator.books.requests
    done = office.run("eval", "--questions", str(path))
    assert done.returncode == 2
    assert "line 2" in done.stderr
    assert office.simulator.books.requests == requests


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--k", "0"], "--k"),
        (["--k", "a,b"], "--k"),
        (["--questions", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--questions", "nowhere.jsonl", "--seed", "3"], "--seed"),
        (["--sample", "0"], "--sample"),
        (["--set", "embedding.dimensions=512"], "512 dimensions"),
    ],
)
def test_wrong_usage_is_told(office: Site, more: list[str], word: str) -> None:
    office.overrides = tuple(more[1:]) if more[0] == "--set" else ()
    done = office.run("eval", *([] if more[0] == "--set" else more))
    assert done.returncode == 2, done.stderr
    assert word in done.stderr
    assert "Traceback" not in done.stderr


# Edges


def test_without_a_lake_or_a_chunk_or_a_collection_the_remedy_is_told(site: Site) -> None:
    site.overrides = LOCAL
    with pytest.raises(ConfigurationError, match="millrace ingest"):
        asked(site)
    site.write("a.md", "# A\n\nThe gate is opened at six in the morning.\n")
    site.ingest()
    for path in site.folder.glob("milvus.db*"):
        path.rename(site.folder / f"away-{path.name}")
    with pytest.raises(CollectionMissing, match="millrace rebuild"):
        asked(site)


def test_rows_that_only_the_collection_has_are_noted(sample: Site) -> None:
    settings = sample.settings()
    with open_collection(settings, load_model(settings), create=False) as collection:
        orphan = pa.table({"id": ["0" * 64], "content": ["nobody's"], "metadata": ["{}"]})
        collection.upsert(orphan, np.ones((1, 1024), np.float32))
    report = asked(sample)
    assert report.retrieved.hit_at_1 >= 0.95
    assert any("130 rows and the lake knows 129" in note for note in report.notes)


def test_a_row_that_is_not_in_the_collection_is_named(sample: Site) -> None:
    gone = asked(sample, sample=12).asked[0].id
    settings = sample.settings()
    with open_collection(settings, load_model(settings), create=False) as collection:
        collection.delete([gone])
    report = asked(sample, sample=12)
    (missed,) = report.misses
    assert (missed.id, missed.row, missed.own_similarity) == (gone, "not_in_collection", None)
    assert "its row is not in the collection" in "\n".join(report.lines())


def test_a_corpus_that_repeats_itself_says_that_it_cannot_be_asked(site: Site) -> None:
    site.overrides = LOCAL
    for name in ("a.md", "b.md"):
        site.write(name, "The gate is opened at six in the morning.\n")
    site.ingest()
    with pytest.raises(RunStopped, match="--questions"):
        asked(site)
