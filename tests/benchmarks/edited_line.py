"""One line inserted into a document of 300 pages: how many texts are bought, beside cuts at every 512 tokens."""

import tempfile
from pathlib import Path

from tests.benchmarks.row import Row
from tests.flows.prose import english
from tests.flows.site import Site, json_of
from tests.simulator.model.tokens import qwen_encoding
from tests.simulator.server import running_simulator

PAGES, SENTENCES_A_PAGE = 300, 40  # about 3,000 characters a page
ROW_LOCATION_COLUMNS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
MOST = 3


def measure() -> list[Row]:
    """One row: a line inserted at each place in turn, each into the text that the one before left."""
    pages = [english(SENTENCES_A_PAGE, seed=number) for number in range(PAGES)]
    embedded, bare = [], []
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder, running_simulator() as simulator:
        site = Site(Path(folder), simulator)
        text = "\n".join(pages)
        site.write("book.txt", text)
        whole = _bought(site)
        for place in ROW_LOCATION_COLUMNS:
            lines = text.split("\n")
            lines.insert(round(place * len(lines)), f"A line that somebody inserted at {place:.0%}.")
            edited = "\n".join(lines)
            bare.append(len(_cut(edited) - _cut(text)))
            site.write("book.txt", edited)
            embedded.append(_bought(site))
            text = edited
    return [
        Row(
            f"one line inserted into {PAGES} pages ({whole:,} chunks), at {len(ROW_LOCATION_COLUMNS)} places",
            f"<= {MOST} texts bought",
            f"{max(embedded)} at most ({', '.join(map(str, embedded))})",
            f"{max(bare)} at most (cuts at every 512 tokens)",
            f"{max(embedded) / max(bare):.3f}",
        )
    ]


def _bought(site: Site) -> int:
    done = site.run("ingest", str(site.corpus), "--json")
    assert done.returncode == 0, done.stderr
    return int(json_of(done)["chunks"]["embedded"])


def _cut(text: str) -> set[str]:
    encoding = qwen_encoding()
    tokens = encoding.encode_ordinary(text)
    return {encoding.decode(tokens[i : i + 512]) for i in range(0, len(tokens), 512)}
