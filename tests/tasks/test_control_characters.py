"""No text commands a terminal."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.control_characters import harmless


@given(st.text())
def test_harmless_text_has_no_control_character_and_keeps_its_length_and_the_rest(text: str) -> None:
    safe = harmless(text)
    assert len(safe) == len(text)
    assert [c for c in safe if unicodedata.category(c) == "Cc" and c != "\t"] == []
    assert [s for s, t in zip(safe, text, strict=True) if s != t and unicodedata.category(t) not in {"Cc", "Cf"}] == []


def test_escape_sequences_are_seen_instead_of_obeyed() -> None:
    assert harmless("\x1b]0;title\x07 \x9b31m \u202egpj.exe") == "␛]0;title␇ �31m �gpj.exe"
