"""No secret leaves the process, whatever shape it comes back in, and no text commands a terminal."""

import base64
import json
import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks import safe_text
from millrace.tasks.errors import MillraceError, ProviderStopped, Rejected, RunStopped
from millrace.tasks.safe_text import harmless, looks_like_secret, mask, read_secret


@pytest.fixture(autouse=True)
def _no_secret_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_text, "_secrets", set())


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


@given(st.text())
def test_harmless_text_has_no_control_character_and_keeps_its_length_and_the_rest(text: str) -> None:
    safe = harmless(text)
    assert len(safe) == len(text)
    assert [c for c in safe if unicodedata.category(c) == "Cc" and c != "\t"] == []
    assert [s for s, t in zip(safe, text, strict=True) if s != t and unicodedata.category(t) not in {"Cc", "Cf"}] == []


def test_escape_sequences_are_seen_instead_of_obeyed() -> None:
    assert harmless("\x1b]0;title\x07 \x9b31m \u202egpj.exe") == "␛]0;title␇ �31m �gpj.exe"
