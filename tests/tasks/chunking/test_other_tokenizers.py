"""Counting where the model's tokenizer is not Qwen's: by bytes, or by the model's own file."""

import doctest
import json
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.chunking import ChunkOptions, Tokenizer, split, tokenizer_identity
from millrace.tasks.chunking import tokenizer as module
from millrace.tasks.errors import ConfigurationError
from tests.tasks.chunking.laws import assert_lawful

TEXT = "The sluice gate opens at nine.\n\n闸门在九点打开，水位下降。 " * 40
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def tokenizer_file(folder: Path) -> Path:
    """A small word tokenizer as Hugging Face's library writes it; a word it does not know is one token."""
    words = ["[UNK]", "the", "sluice", "gate", "[SEP]"]
    path = folder / "tokenizer.json"
    path.write_text(
        json.dumps(
            {
                "version": "1.0",
                "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
                "padding": None,
                "added_tokens": [
                    {"id": 4, "content": "[SEP]", "special": True}
                    | dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
                ],
                "normalizer": {"type": "Lowercase"},
                "pre_tokenizer": {"type": "Whitespace"},
                "post_processor": None,
                "decoder": None,
                "model": {"type": "WordLevel", "vocab": {w: i for i, w in enumerate(words)}, "unk_token": "[UNK]"},
            }
        )
    )
    return path


@given(ANY_TEXT)
def test_bytes_are_never_fewer_than_the_tokens_of_a_byte_level_tokenizer(text: str) -> None:
    assert Tokenizer.load("bytes").count(text) >= Tokenizer.load("qwen").count(text)


@given(ANY_TEXT)
def test_byte_ends_are_as_many_as_counted_and_end_with_the_text(text: str) -> None:
    tokenizer = Tokenizer.load("bytes")
    ends = tokenizer.token_ends(text)
    assert len(ends) == tokenizer.count(text)
    assert (np.diff(ends) >= 0).all()
    assert not len(ends) or ends[-1] == len(text.encode())


@pytest.mark.parametrize("text", ["क़", "ﷺ", "①"])
def test_a_normal_form_that_is_longer_than_the_text_counts_in_full(text: str) -> None:
    longest = max(len(unicodedata.normalize(form, text).encode()) for form in ("NFC", "NFKC"))
    assert Tokenizer.load("bytes").count(text) == max(longest, len(text.encode()))


@pytest.mark.parametrize("text", [TEXT, "ﷺ " * 200, "é" * 500])
def test_chunks_counted_in_bytes_keep_every_law(text: str) -> None:
    tokenizer, options = Tokenizer.load("bytes"), ChunkOptions(max_tokens=120, overlap_tokens=20, max_bytes=8192)
    spans = list(split(text, [], tokenizer, options))
    assert_lawful(text, spans, tokenizer, options)
    assert len(spans) > 3


def test_a_file_counts_as_its_model_does_without_its_truncation(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(str(tokenizer_file(tmp_path)))
    assert tokenizer.count("The sluice gate, the sluice gate") == 7
    assert tokenizer.count("") == 0
    # As text it is three tokens, as the special token it would be one.
    assert tokenizer.count("[SEP]") == 3
    text = "The gate 闸门 é"
    ends = tokenizer.token_ends(text).tolist()
    assert [text.encode()[:end].decode() for end in ends] == ["The", "The gate", "The gate 闸门", text]


def test_chunks_counted_by_a_file_keep_every_law(tmp_path: Path) -> None:
    tokenizer, options = (
        Tokenizer.load(str(tokenizer_file(tmp_path))),
        ChunkOptions(max_tokens=30, overlap_tokens=0, max_bytes=8192),
    )
    assert_lawful(TEXT, list(split(TEXT, [], tokenizer, options)), tokenizer, options)


def test_a_file_without_the_library_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'millrace\[tokenizers\]'"):
        Tokenizer.load(str(tokenizer_file(tmp_path)))


def test_a_file_that_is_missing_or_no_tokenizer_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.json cannot be read"):
        Tokenizer.load(str(tmp_path / "nowhere.json"))
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"other\.json is not a valid tokenizer\.json"):
        Tokenizer.load(str(tmp_path / "other.json"))


def test_the_identity_of_a_file_is_its_content(tmp_path: Path) -> None:
    path = tokenizer_file(tmp_path)
    before = tokenizer_identity(str(path))
    path = path.rename(tmp_path / "moved.json")
    assert tokenizer_identity(str(path)) == before
    path.write_text(path.read_text() + "\n")
    assert tokenizer_identity(str(path)) != before
    assert [tokenizer_identity(name) for name in ("qwen", "bytes")] == ["qwen", "bytes"]


def test_examples() -> None:
    assert doctest.testmod(module).failed == 0
