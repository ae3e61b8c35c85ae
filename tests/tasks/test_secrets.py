from __future__ import annotations

import base64
import doctest
import html
import json
import re
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks import secrets
from millrace.tasks.secrets import MASK, mask, remember

KEY = 'Zx9/q+"t?é=k 77&<v>\\w'


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets._secrets, "_forms", set())
    monkeypatch.setattr(secrets._secrets, "_pattern", None)


@pytest.mark.parametrize(
    "form",
    [
        lambda key: key,
        lambda key: quote(key, safe=""),
        quote_plus,
        html.escape,
        lambda key: key.encode().hex().upper(),
        lambda key: json.dumps(key)[1:-1],
        lambda key: json.dumps(key, ensure_ascii=False)[1:-1],
        lambda key: "".join(f"\\u{ord(character):04x}" for character in key),
        lambda key: key[::-1],
        str.upper,
    ],
)
def test_a_secret_is_masked_in_every_form(form: object) -> None:
    assert callable(form)
    remember(KEY)
    assert mask(f"before {form(KEY)} after") == f"before {MASK} after"


@given(st.text(min_size=8, max_size=40).filter(lambda text: len(text.strip()) >= 8), st.binary(), st.binary())
def test_a_secret_is_masked_inside_base64_wherever_it_stands(secret: str, before: bytes, after: bytes) -> None:
    remember(secret)
    data = secret.strip().encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        masked = mask(encode(before + data + after).decode())
        assert MASK in masked
        # Not more than the characters at both ends is left, which belong to the neighbours too.
        rest = len(re.sub(re.escape(MASK), "", masked))
        assert rest <= (len(before) + len(after)) * 4 / 3 + 8


def test_of_two_secrets_of_which_one_begins_the_other_nothing_is_left() -> None:
    remember("abcdef123")
    remember("abcdef123456")
    assert mask("abcdef123456 abcdef123") == f"{MASK} {MASK}"


@pytest.mark.parametrize("value", ["", "  ", "none", "EMPTY"])
def test_a_word_is_no_secret(value: str) -> None:
    remember(value)
    assert mask("none is EMPTY") == "none is EMPTY"


def test_what_looks_like_a_key_is_masked_though_nobody_read_it() -> None:
    assert mask("Authorization: Bearer abc_def-123") == f"Authorization: Bearer {MASK}"


def test_examples() -> None:
    assert doctest.testmod(secrets).failed == 0
