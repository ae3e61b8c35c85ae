"""Counting as the provider counts."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.chunking import Tokenizer
from millrace.tasks.chunking import tokenizer as module
from millrace.tasks.chunking.tokenizer import BytePairTokenizer
from millrace.tasks.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        # The provider billed one more for each of the first two: its end mark.
        ("衣服的质量杠杠的", 5),
        ("我想知道迪士尼的退票政策", 7),
        ("代码改变世界", 3),
        ("hello world", 2),
        ("", 0),
    ],
)
def test_counts_are_those_that_the_provider_billed(tokenizer: Tokenizer, text: str, tokens: int) -> None:
    assert tokenizer.count(text) == tokens


def test_decomposed_text_counts_as_composed(tokenizer: Tokenizer) -> None:
    assert tokenizer.count("e\u0301" * 1000) == tokenizer.count("é" * 1000) == 1000


def test_a_special_token_in_a_document_is_ordinary_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.count("<|endoftext|>") == 7


@pytest.mark.parametrize("space", [" ", "\t", "\u3000", " \n"])
def test_white_space_on_which_tiktoken_overflows_its_stack_is_counted(tokenizer: Tokenizer, space: str) -> None:
    assert tokenizer.count(space * 1_100_000) > 0


def test_a_long_text_counts_as_if_it_had_never_been_parted(tokenizer: Tokenizer) -> None:
    text = "The quick brown fox, 狐狸, jumps over 12 lazy dogs.\n" * 10_000
    assert isinstance(tokenizer, BytePairTokenizer)
    assert tokenizer.count(text) == len(tokenizer._encoding.encode_ordinary(text))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_token_ends_are_as_many_as_tokens_and_end_with_the_text(text: str) -> None:
    tokenizer = Tokenizer.load()
    ends = tokenizer.token_ends(text)
    assert len(ends) == tokenizer.count(text)
    assert (np.diff(ends) >= 0).all()
    assert not len(ends) or ends[-1] == len(text.encode())


def test_token_ends_of_decomposed_text_stay_near_their_words(tokenizer: Tokenizer) -> None:
    composed = "Tiếng Việt có dấu. " * 200
    decomposed = unicodedata.normalize("NFD", composed)
    ends = tokenizer.token_ends(decomposed) / len(decomposed.encode())
    assert np.abs(ends - tokenizer.token_ends(composed) / len(composed.encode())).max() < 0.02


def test_a_tokenizer_is_read_once_a_process() -> None:
    assert Tokenizer.load() is Tokenizer.load("qwen")


def test_an_unknown_tokenizer_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="no tokenizer 'gpt'; known: bytes, qwen, or the path"):
        Tokenizer.load("gpt")


def test_altered_ranks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.BYTE_PAIRS, "altered", module._Ranks(file="qwen.tiktoken", sha256="0" * 64, pattern=""))
    with pytest.raises(ConfigurationError, match=r"expected SHA-256 0000.*found b2b1.*reinstall"):
        Tokenizer.load("altered")


def test_missing_ranks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.BYTE_PAIRS, "missing", module._Ranks(file="nowhere.tiktoken", sha256="", pattern=""))
    with pytest.raises(ConfigurationError, match=r"data/nowhere\.tiktoken, cannot be read .*reinstall"):
        Tokenizer.load("missing")
