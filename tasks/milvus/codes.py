"""Codes in a query: part numbers, error numbers, versions. They are taken at their word. Pure.

Neither ranking of a hybrid search can be trusted with them. Vectors hardly know one code from another, and by words
a row shares most of a code's parts with the rows of its neighbours (SKU-88161-QX, SKU-88168-QX), all the more where a
model's tokenizer takes numbers apart digit by digit.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping

_RUN = re.compile(r"[A-Za-z0-9]+(?:[-_./:#][A-Za-z0-9]+)*")
_LEAST_LENGTH = 4
_LEAST_DIGITS = 5  # of a number alone: four are a year, or an amount


def codes_in(query: str) -> frozenset[str]:
    """The codes that `query` names, as `shares_of_codes` looks for them.

    >>> sorted(codes_in("What does E4711 mean on SKU-88161-QX since 2024?"))
    ['e4711', 'sku-88161-qx']
    >>> codes_in("v4 of 1987, and-or")
    frozenset()
    """
    return frozenset(run for run in _RUN.findall(_plain(query)) if _is_code(run))


def shares_of_codes(codes: frozenset[str], contents: Mapping[str, str]) -> dict[str, float]:
    """For each id of `contents` (id -> text) that holds some of `codes` whole, the share of them that it holds.

    >>> shares_of_codes(frozenset({"e4711"}), {"a": "Fault E4711: clogged", "b": "Fault E47112", "c": "报警E4711消失"})
    {'a': 1.0, 'c': 1.0}
    """
    shares = {row_id: _held(codes, _plain(text)) / len(codes) for row_id, text in contents.items()} if codes else {}
    return {row_id: share for row_id, share in shares.items() if share}


def _held(codes: Iterable[str], text: str) -> int:
    return sum(re.search(rf"(?<![a-z0-9]){re.escape(code)}(?![a-z0-9])", text) is not None for code in codes)


def _is_code(run: str) -> bool:
    digits = sum(character.isdigit() for character in run)
    return digits >= _LEAST_DIGITS if run.isdigit() else bool(digits) and len(run) >= _LEAST_LENGTH


def _plain(text: str) -> str:
    """Full-width letters and digits as the usual ones, in one case."""
    return unicodedata.normalize("NFKC", text).lower()
