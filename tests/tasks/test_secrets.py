from __future__ import annotations

import base64
import doctest
import html
import json
import re
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.tasks import secrets
from millrace.tasks.errors import MillraceError, ProviderStopped, Rejected, RunStopped
from millrace.tasks.secrets import MASK, looks_like_secret, mask, read_secret, remember

KEY = 'Zx9/q+"t?é=k 77&<v>\\w'


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets._secrets, "_values", set())
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
        lambda key: repr(repr("".join(f"\\u{ord(character):04x}" for character in key)))[2:-2],
        lambda key: key[::-1],
        str.upper,
    ],
)
def test_a_secret_is_masked_in_every_form(form: object) -> None:
    assert callable(form)
    remember(KEY)
    assert mask(f"before {form(KEY)} after") == f"before {MASK} after"


@given(st.text(min_size=8, max_size=40).filter(lambda text: len(text.strip()) >= 8), st.binary(), st.binary())
@settings(deadline=None)
def test_a_secret_is_masked_inside_base64_wherever_it_stands(secret: str, before: bytes, after: bytes) -> None:
    known = secrets._Secrets()
    known.remember("k:" + secret.strip())  # no published password begins so
    data = f"k:{secret.strip()}".encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        masked = known.mask(encode(before + data + after).decode())
        assert MASK in masked
        # Not more than the characters at both ends is left, which belong to the neighbours too.
        rest = len(re.sub(re.escape(MASK), "", masked))
        assert rest <= (len(before) + len(after)) * 4 / 3 + 8


def test_a_secret_that_is_another_one_backwards_is_masked_in_every_form() -> None:
    remember("0123456789")
    remember("9876543210")
    assert mask(base64.b64encode(b"9876543210").decode()) == f"{MASK}A=="


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


@pytest.mark.parametrize("secret", ['plain"word\\with signs', "0123456789abcdef", "a key/of+signs==", "user:pa$$word1"])
@pytest.mark.parametrize(
    "shape",
    [
        str,
        lambda s: quote(s, safe=""),
        lambda s: json.dumps({"error": s}),
        lambda s: base64.b64encode(s.encode()).decode(),
        lambda s: f"x{s}y{s}",
    ],
)
def test_a_secret_that_was_read_is_masked_whatever_its_shape(secret: str, shape: object) -> None:
    assert callable(shape)
    assert read_secret({"MY_KEY": f" {secret}\n"}, "MY_KEY") == secret
    text = f"the server said {shape(secret)}"
    assert shape(secret) not in mask(text)
    assert secret.partition(":")[2] not in mask(text) or ":" not in secret
    assert "***" in mask(text)


def test_every_error_masks_what_it_says() -> None:
    read_secret({"K": "no-known-shape-7"}, "K")
    errors = [
        MillraceError("the key no-known-shape-7"),
        RunStopped("the key no-known-shape-7"),
        ProviderStopped("no-known-shape-7", code="no-known-shape-7", request_id="no-known-shape-7"),
        Rejected("no-known-shape-7", reason="x", remedy="not no-known-shape-7"),
    ]
    for error in errors:
        assert "no-known" not in f"{error} {error!r} {error.args} {vars(error)}"


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-0123456789abcdef.",
        "Authorization: Bearer abcdefghij0123",
        "AKIAIOSFODNN7EXAMPLE",
        "http://root:password@db:19530",
        "https://host/v1?x=1&api-key=abcdef",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc",
    ],
)
def test_what_looks_like_a_secret_is_masked_though_nobody_read_it(text: str) -> None:
    assert "***" in mask(text)
    assert looks_like_secret(text)


@pytest.mark.parametrize(
    "text",
    [
        "docs/sk-SK.md: page_scanned: page 3 of task-force-2026.pdf",
        "mail anna@example.org, or see https://host/a@b",
        "the user root, the password Milvus",
        "chunking.max_tokens = 512",
        "",
    ],
)
def test_ordinary_messages_stay_as_they_are(text: str) -> None:
    read_secret({"MILVUS_TOKEN": "root:Milvus"}, "MILVUS_TOKEN")
    assert mask(text) == text
