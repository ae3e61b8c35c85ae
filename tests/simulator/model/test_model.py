"""The simulated model itself: its tokens and its vectors."""

from __future__ import annotations

import json
import unicodedata

import numpy as np
import pytest

from tests.simulator.model.tokens import bpe_tokens, truncated
from tests.simulator.model.vectors import Renderings, expected_vector, rendered


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("衣服的质量杠杠的", 5), ("我想知道迪士尼的退票政策", 7), ("代码改变世界", 3)],
)
def test_tokens_are_those_that_the_real_provider_billed(text: str, tokens: int) -> None:
    assert bpe_tokens(text) == tokens


def test_tokens_are_counted_in_the_composed_form() -> None:
    decomposed = unicodedata.normalize("NFD", "é" * 1000)
    assert bpe_tokens(decomposed) == bpe_tokens("é" * 1000) == 1000


def test_a_special_token_in_a_text_is_ordinary_text() -> None:
    assert bpe_tokens("<|endoftext|>") > 1


def test_a_run_of_white_space_that_kills_the_tokenizer_is_counted() -> None:
    assert bpe_tokens(" " * 1_100_000) > 8192


def test_a_truncated_text_fits() -> None:
    assert bpe_tokens(truncated("流水线 pipeline " * 1000, 100)) <= 100


def test_a_vector_depends_on_model_dimension_and_text_alone() -> None:
    vector = expected_vector("text-embedding-v4", 1024, "a")
    assert vector.dtype == np.float32
    assert vector.shape == (1024,)
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6)
    assert np.array_equal(vector, expected_vector("text-embedding-v4", 1024, "a"))
    assert abs(float(vector @ expected_vector("text-embedding-v4", 1024, "b"))) < 0.2
    assert abs(float(vector @ expected_vector("text-embedding-v3", 1024, "a"))) < 0.2


def test_both_forms_of_an_accent_have_one_vector() -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert np.array_equal(expected_vector("m", 64, composed), expected_vector("m", 64, decomposed))


def test_a_rendered_vector_is_read_back_bit_by_bit_and_printed_as_doubles() -> None:
    vector = expected_vector("text-embedding-v4", 1024, "a")
    text = rendered(vector)
    assert np.array_equal(np.array(json.loads(text), np.float32), vector)
    assert 20_000 < len(text) < 24_000


def test_renderings_are_forgotten_oldest_first() -> None:
    renderings = Renderings(kept=2)
    first = renderings.json_array("m", 64, "a")
    assert renderings.json_array("m", 64, "a") is first
    renderings.json_array("m", 64, "b")
    renderings.json_array("m", 64, "c")
    again = renderings.json_array("m", 64, "a")
    assert again == first
    assert again is not first
