"""Corpora for crash tests: small documents and a long one, each with a sentence by which a reader knows it."""

import random
import shutil
from pathlib import Path

from tests.flows.prose import chinese, english

LONG_SENTENCES = 100
"""With `MAX_TOKENS` one chunk each, and so more than two parts hold."""

MAX_TOKENS = 32


def known_sentence(name: str) -> str:
    """The sentence that document `name` keeps through all its versions."""
    return f"Whoever looks for {name} finds it by this sentence."


def document(name: str, *, version: int = 0, sentences: int = 6) -> str:
    """A document of Markdown. Versions share most of their sentences."""
    seed = int.from_bytes(name.encode()) % 100_003
    body = chinese(sentences, seed) if seed % 5 == 0 else english(sentences, seed)
    paragraphs = [f"# {name}", known_sentence(name), *body.strip().split("\n\n")]
    for number in range(version):
        place = random.Random(f"{seed} {number}").randrange(1, len(paragraphs))
        paragraphs.insert(place, f"Version {number + 1} of {name} has this paragraph more.")
        paragraphs.pop()
    return "\n\n".join(paragraphs) + "\n"


def write_first(corpus: Path, documents: int, *, long: bool = True) -> None:
    """`documents` small documents in two folders, and `long.md`."""
    for number in range(documents):
        name = f"{'ab'[number % 2]}/{number:03d}.md"
        _write(corpus, name, document(name))
    if long:
        _write(corpus, "long.md", document("long.md", sentences=LONG_SENTENCES))


def edit(corpus: Path) -> None:
    """The next state: every seventh document changed, every tenth gone, some new, one broken, one record file."""
    for number, path in enumerate(sorted(corpus.glob("?/*.md"))):
        name = path.relative_to(corpus).as_posix()
        if number % 10 == 3:
            path.unlink()
        elif number % 7 == 0:
            _write(corpus, name, document(name, version=1))
    for number in range(5):
        _write(corpus, f"c/new-{number}.md", document(f"c/new-{number}.md"))
    _write(corpus, "c/copy.md", (corpus / "a" / "000.md").read_text())
    (corpus / "a" / "002.md").write_bytes(b"\x00\x01\x02 no text any more \xff\xfe\x00")
    if (corpus / "long.md").exists():
        _write(corpus, "long.md", document("long.md", version=3, sentences=LONG_SENTENCES))


def live_names(corpus: Path) -> set[str]:
    """The documents that can be read, by their path below the corpus."""
    return {path.relative_to(corpus).as_posix() for path in corpus.rglob("*.md") if is_readable(path)}


def is_readable(path: Path) -> bool:
    """Whether a document of these corpora is still text."""
    return not path.read_bytes().startswith(b"\0")


def replace(corpus: Path, by: Path) -> None:
    """Make `corpus` what `by` is, times of files included."""
    shutil.rmtree(corpus, ignore_errors=True)
    shutil.copytree(by, corpus)


def _write(corpus: Path, name: str, text: str) -> None:
    path = corpus / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
