"""A place to run the whole program: a corpus, a lake, a Milvus Lite collection and a simulated provider.

`Site.check` is the obvious, slow reference for what a collection must be after any run.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from millrace.configs.settings import Settings, load_settings
from millrace.flows.commands.ingest.run import ingest_here
from millrace.flows.monitoring.run_summary import RunSummary
from millrace.flows.wiring.components import load_model
from millrace.flows.wiring.milvus import open_collection
from millrace.tasks.lake import Lake
from millrace.tasks.records import METADATA_KEYS
from tests.flows import forked
from tests.simulator.model.tokens import bpe_tokens
from tests.simulator.model.vectors import expected_vector
from tests.simulator.server import Simulator
from tests.simulator.settings import API_KEY

ROOT = Path(__file__).parents[2]

CHANGE = "embedding.allow_change=true"
"""For a run that is to embed the documents of the collection anew."""


@dataclass(frozen=True)
class Row:
    """One row of the collection, whole."""

    id: str
    content: str
    metadata: Mapping[str, Any]
    vector: npt.NDArray[np.float32]

    def same_as(self, other: "Row") -> bool:
        """Bit by bit."""
        mine, theirs = (self.id, self.content, dict(self.metadata)), (other.id, other.content, dict(other.metadata))
        return mine == theirs and np.array_equal(self.vector, other.vector)


@dataclass
class Site:
    """Everything lies below `folder`; documents below `corpus`."""

    folder: Path
    simulator: Simulator
    overrides: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=lambda: {"DASHSCOPE_API_KEY": API_KEY})

    @property
    def corpus(self) -> Path:
        return self.folder / "corpus"

    @property
    def lake(self) -> Path:
        return self.folder / "lake"

    def write(self, name: str, content: str | bytes) -> Path:
        """Write one document of the corpus."""
        path = self.corpus / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def assignments(self, *more: str) -> list[str]:
        """The settings of the site as `--set` takes them; `more` come last and so win."""
        return [
            "embedding.provider=dashscope",
            f"embedding.base_url={self.simulator.base_url}",
            f"lake.path={self.lake}",
            f"milvus.uri={self.folder / 'milvus.db'}",
            "limits.requests_per_second=1000000",
            "limits.tokens_per_second=1000000000",
            "limits.requests_per_minute=1000000000",
            "limits.tokens_per_minute=1000000000",
            *self.overrides,
            *more,
        ]

    def settings(self, *more: str) -> Settings:
        return load_settings(overrides=self.assignments(*more), environment={})

    def ingest(self, *more: str, sources: Sequence[Path] | None = None) -> RunSummary:
        """Run `ingest` in this process."""
        return ingest_here(self.settings(*more), sources or [self.corpus], quiet=True)

    def arguments(self, *arguments: str) -> list[str]:
        """Those of a command, and the settings of this site: `arguments("ingest", "DIR")`."""
        return [*arguments, *(part for assignment in self.assignments() for part in ("--set", assignment))]

    def command(self, *arguments: str) -> list[str]:
        """A command line of this site, for a fresh Python."""
        return [sys.executable, "-m", "millrace.flows.cli.main", *self.arguments(*arguments)]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command in a process of its own, as a user would; `forked` says what it does not show."""
        return forked.run(self.arguments(*arguments), self.process_environment(**environment), timeout_s=100)

    def process_environment(self, **more: str) -> dict[str, str]:
        measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
        own = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(self.folder)}
        return {**measured, **own, **self.environment, **more}

    def rows(self, *more: str) -> dict[str, Row]:
        """Every row of the collection, by id, read through the room's own reader."""
        settings = self.settings(*more)
        rows: dict[str, Row] = {}
        with open_collection(settings, load_model(settings), create=False) as collection:
            assert collection.count() == sum(len(batch) for batch in collection.ids())
            for batch in collection.ids():
                for stored in collection.fetch(batch, with_vectors=True):
                    assert stored.vector is not None
                    assert stored.metadata is not None
                    rows[stored.id] = Row(stored.id, stored.content, stored.metadata, stored.vector)
        return rows

    def rejects(self) -> list[dict[str, str]]:
        """The outstanding rejects."""
        outstanding: list[dict[str, str]] = (
            Lake.open(self.lake, "documents", read_only=True).rejects.outstanding().to_pylist()
        )
        return outstanding

    def check(
        self, *, model: str = "text-embedding-v4", dimensions: int = 1024, max_tokens: int = 512
    ) -> dict[str, Row]:
        """Assert the laws on every row of the collection, and return the rows."""
        rows = self.rows()
        by_source: dict[str, list[Row]] = {}
        for row in rows.values():
            assert re.fullmatch("[0-9a-f]{64}", row.id)
            assert np.allclose(row.vector, expected_vector(model, dimensions, row.content), atol=1e-6), row.content
            assert len(row.content.encode()) <= 8192
            assert row.metadata.keys() >= METADATA_KEYS
            assert row.metadata["token_count"] == bpe_tokens(row.content) <= max_tokens
            assert row.metadata["end"] - row.metadata["start"] == len(row.content)
            by_source.setdefault(row.metadata["source"], []).append(row)
        for source, chunks in by_source.items():
            chunks.sort(key=lambda row: row.metadata["chunk_number"])
            assert [row.metadata["chunk_number"] for row in chunks] == list(range(len(chunks))), source
            if source.endswith((".md", ".txt", ".rst")):
                text = Path(source).read_text(encoding="gb18030" if "grain-storage" in source else "utf-8")
                assert "".join("".join(row.content.split()) for row in chunks) == "".join(text.split()), source
                assert all(text[row.metadata["start"] : row.metadata["end"]] == row.content for row in chunks)
        return rows


def json_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one JSON object that is all of standard output."""
    value = json.loads(done.stdout)
    assert isinstance(value, dict)
    return value
