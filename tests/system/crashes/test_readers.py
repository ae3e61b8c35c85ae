"""A reader that searches all the while for a known sentence of every live document never gets nothing."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from millrace.flows.commands.ingest.pipeline import Execution
from millrace.flows.commands.ingest.run import ingest_here
from millrace.flows.wiring.components import load_model, open_client
from millrace.flows.wiring.milvus import open_collection
from millrace.tasks.milvus import Collection
from tests.flows.site import CHANGE, Site
from tests.system.crashes import library


class Reader:
    """Searches with a collection handle of its own, at every step of a run and in a thread beside it."""

    def __init__(self, collection: Collection, corpus: Path, sentences: Mapping[str, npt.NDArray[np.float32]]) -> None:
        self._collection = collection
        self._corpus = corpus
        self._sentences = sentences
        self._lock = threading.Lock()
        self.searches = 0
        self.missed: list[str] = []

    def look(self, step: str) -> None:
        """Search for every sentence once."""
        for name, vector in self._sentences.items():
            self._look_for(name, vector, step)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Search in a thread until the block ends."""
        over = threading.Event()

        def look_on() -> None:
            while not over.is_set():
                self.look("beside the run")

        thread = threading.Thread(target=look_on, name="reader")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _look_for(self, name: str, vector: npt.NDArray[np.float32], step: str) -> None:
        hits = self._collection.search(vector, top_k=5, filter=f'metadata["source"] == "{self._corpus / name}"')
        found = any(library.known_sentence(name) in hit.content for hit in hits)
        with self._lock:
            self.searches += 1
            if not found:
                self.missed.append(f"{name} at {step}, {len(hits)} hits")


@pytest.fixture
def local_site(site: Site) -> Site:
    """A site whose embedding is by words, so that a sentence finds its passage whatever surrounds it."""
    site.overrides = (
        "embedding.provider=local",
        "embedding.base_url=",
        f"chunking.max_tokens={2 * library.MAX_TOKENS}",
    )
    return site


async def sentence_vectors(site: Site, names: set[str]) -> dict[str, npt.NDArray[np.float32]]:
    settings = site.settings()
    client = open_client(settings, load_model(settings))
    answer = await client.embed([library.known_sentence(name) for name in sorted(names)])
    await client.close()
    return dict(zip(sorted(names), answer.vectors, strict=True))


async def test_no_live_document_is_missed_while_documents_are_edited_and_removed(local_site: Site) -> None:
    site = local_site
    library.write_first(site.corpus, 8)
    await run(site)
    first = library.live_names(site.corpus)
    library.edit(site.corpus)
    sentences = await sentence_vectors(site, first & library.live_names(site.corpus))
    settings = site.settings()
    with open_collection(settings, load_model(settings), create=False) as collection:
        reader = Reader(collection, site.corpus, sentences)
        reader.look("before the run")
        with reader.looking():
            await run(site, reader)
        with reader.looking():  # other cuts: nearly every row is another
            await run(site, reader, f"chunking.max_tokens={library.MAX_TOKENS}", CHANGE)
        reader.look("after the run")
    assert reader.missed == []
    assert reader.searches > 10 * len(sentences)


async def run(site: Site, reader: Reader | None = None, *more: str) -> None:
    checkpoint = reader.look if reader else lambda _: None
    report = await asyncio.to_thread(
        ingest_here, site.settings(*more), [site.corpus], quiet=True, execution=Execution(checkpoint=checkpoint)
    )
    assert report.outcome == "finished", report.error


def test_old_rows_stay_while_a_server_does_not_show_the_new_ones(
    local_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that was acknowledged and cannot be read back must not have replaced anything."""
    site = local_site
    library.write_first(site.corpus, 8)
    assert site.ingest().exit_code == 0
    before = site.rows()
    library.edit(site.corpus)
    monkeypatch.setattr(Collection, "present", lambda self, ids: set(ids[1:]))
    stopped = site.ingest()
    assert (stopped.exit_code, stopped.chunks.deleted) == (1, 0)
    assert "cannot be read back; nothing was deleted" in stopped.error
    assert site.rows().keys() >= before.keys()
    monkeypatch.undo()
    assert site.ingest().outcome == "finished"
