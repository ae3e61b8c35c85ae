"""States of one site that a test can go back to: its corpus, lake and collection as they were, times of files included."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.flows.site import Row, Site
from tests.system.crashes import library
from tests.system.crashes.runs import Ended, Runs, assert_same_rows, assert_tidy, is_same

IN_FLIGHT = 2


class States:
    """`new`: documents and nothing else. `edited`: all of them in, then edited. The rows are those of undisturbed runs."""

    def __init__(self, site: Site, runs: Runs) -> None:
        self.site = site
        self._runs = runs
        self._saved = site.folder.parent / f"{site.folder.name}-saved"
        library.write_first(site.corpus, 40)
        self.save("new")
        assert runs.ingest(site).exit_code == 0
        self.rows: dict[str, Mapping[str, Row]] = {"new": site.rows()}
        library.edit(site.corpus)
        self.save("edited")
        runs.ingest(site)
        assert_tidy(site)
        self.rows["edited"] = site.rows()

    def folder_of(self, name: str) -> Path:
        """Where the state `name` is saved."""
        return self._saved / name

    def prepare(self, name: str, change: Callable[[Path, Path], None]) -> None:
        """Save as `name` the state `edited` with a changed corpus, and keep the rows that a run then makes; once.

        `change` is given the corpus, and the corpus as it was at first.
        """
        if name not in self.rows:
            site = self.back_to("edited")
            change(site.corpus, self.folder_of("new") / "corpus")
            self.save(name)
            self._runs.ingest(site)
            self.rows[name] = site.rows()

    def save(self, name: str) -> None:
        """Keep the site as it is now under `name`."""
        for part in ("corpus", "lake", "milvus.db"):
            if (self.site.folder / part).exists():
                shutil.copytree(self.site.folder / part, self._saved / name / part)

    def back_to(self, name: str) -> Site:
        """The site as it was saved, and a provider that has sold nothing."""
        for part in ("corpus", "lake", "milvus.db"):
            shutil.rmtree(self.site.folder / part, ignore_errors=True)
            if (self._saved / name / part).exists():
                shutil.copytree(self._saved / name / part, self.site.folder / part)
        self.site.simulator.reset()
        return self.site

    def assert_converges(self, wanted: Mapping[str, Row], *, kills: int) -> Ended:
        """How a run that is left alone ends: with the wanted rows, nothing left over and next to nothing bought twice."""
        site = self.site
        ended = self._runs.ingest(site)
        assert ended.exit_code in {0, 3}, ended.report
        assert_same_rows(self._but_kept(site.rows(), wanted), wanted)
        assert_tidy(site)
        assert site.simulator.books.texts_bought_again <= 10 * IN_FLIGHT * kills
        assert self._runs.ingest(site).steps == []
        return ended

    def _but_kept(self, rows: Mapping[str, Row], wanted: Mapping[str, Row]) -> Mapping[str, Row]:
        """The rows, those of each document that cannot be read taken for the wanted ones.

        It keeps the version that was committed last; which one that was depends on when the run was killed.
        """
        unreadable = {str(path) for path in self.site.corpus.rglob("*.md") if not library.is_readable(path)}
        for source in unreadable:
            retained = _of(rows, {source})
            versions = [_of(known, {source}) for known in self.rows.values()]
            assert any(is_same(retained, version) for version in versions), source
        return {row_id: row for row_id, row in rows.items() if row.metadata["source"] not in unreadable} | _of(
            wanted, unreadable
        )

    def assert_nothing_vanished(self) -> None:
        """Every document that is live, and was when the corpus was edited, has a row with its known sentence."""
        contents = [row.content for row in self.site.rows().values()]
        for name in library.live_names(self.site.corpus) & library.live_names(self._saved / "new" / "corpus"):
            assert any(library.known_sentence(name) in content for content in contents), name


def _of(rows: Mapping[str, Row], sources: set[str]) -> dict[str, Row]:
    return {row_id: row for row_id, row in rows.items() if row.metadata["source"] in sources}
