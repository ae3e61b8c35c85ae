"""How much a decoded text looks like language, which distinguishes the right encoding from the wrong ones.

Bytes above 127 decode in many encodings. The right one gives the letters of some language, in about their usual shares
and in their usual positions; the others give rare letters, capitals within words, or two alphabets in one word. A
detector that looks only at probable bytes reads `für` as `fĂĽr` and `två` as `tvĺ`, and nothing shows the mistake.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache

from millrace.tasks.documents.encoding.alphabets import (
    DENSE_LANGUAGES,
    LATIN_LANGUAGES,
    OTHER_LANGUAGES,
    UNUSUAL_SIGNS,
    USUAL_SIGNS,
)

_FREQUENT_HANZI = frozenset(
    "的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可里后小么心多天而能好都然没日于起"
    "还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意进把法此实回二理美点月明其种声"
    "全工己话儿者向情部正名定女问力机给等几很业最间新什打便位因重被走电四第门相次东政海口使教西再平真听世气信北少关并内加化由却代军产"
    "入先山五太水万市眼体别处总才场师书比住员九笑性通目华报立马命张活难神数件安表原车白应路期叫死常提感金何更反合放做系计或司利受光王"
    "這來個國說們為時會過後開對學發經動長現與實點機種還從進無當頭樣將裡間給電話問關門東氣麼資訊設請應號檔網員體數書場車處總報張難"
)
_FREQUENT_HANGUL = frozenset("이다는을의에고하가지로어사기도한시자리인대나정아라그서일수과있들은를해제게전부스")

_STRANGE_WORD = re.compile(
    r"\d[à-öø-ÿĀ-\u06ff]"  # a letter that ends a number
    r"|[^\W\d_][“”„‚–—…•«»‹›°§©®™±×÷µ½¼¾²³¹€£¥¢†‡¶¬¨¸ƒ‰\xa0](?=[a-zà-ÿа-я])|[^\W\d_][¡¿](?=\w)"  # a sign within a word
    r"|[§©®™±×÷½¼¾²³¹¢¥†‡¶¬ºª](?=[a-zа-я])"  # or before one
    r"|[^\W\d_][¼½¾±×÷€]|(?<!\S)[’”»\xa0](?=\w)"  # or at the wrong end of one
    r"|[à-öø-ÿĀ-\u06ff]\d+[^\W\d_]"  # digits within a word
    r"|[âîþ](?!\w)|\b[ðÐ]"  # letters that end none, and that begin none
)
_SCRIPTS = (
    "A-Za-zÀ-ÖØ-öø-ɏḀ-ỿ", "\u0370-\u03ff", "\u0400-\u052f", "\u0590-\u05ff", "\u0600-\u06ff\u0750-\u077f",
    "\u0e00-\u0e7f",
)  # fmt: skip
"""Latin, Greek, Cyrillic, Hebrew, Arabic and Thai letters: no word has letters of two of them."""
_MIXED_WORD = re.compile(
    "|".join(rf"[{one}](?=[{''.join(other for other in _SCRIPTS if other != one)}])" for one in _SCRIPTS)
)
_SIGN_LIKELIHOODS = dict.fromkeys(USUAL_SIGNS, math.log(0.1)) | dict.fromkeys(UNUSUAL_SIGNS, math.log(0.01))
_PAIRED_SIGNS = {"¿": "?", "¡": "!", "‚": "‘’", "„": '“”"'}
"""Signs that open, each with those of which one closes what it opened."""
_CLOSING_QUOTE = re.compile(r"[^\W\d_][.,!?]?“(?!\w)")
"""As German and Baltic texts close what „ opened; elsewhere “ opens."""
_LETTER_WITHIN_WORD = re.compile(r"(?<=[^\W\d_])[^\W\d_a-zA-Z]")
_HANZI_WITHIN_WORD = re.compile("(?<=[A-Za-z])[\u3400-\u9fff](?=[A-Za-z])")
_LEAST = math.log(1e-4)
_WRONG_DENSITY = math.log(1e5)
_DAMPING = 0.6
_LEAST_MEAN = math.log(4e-3)


def is_readable(text: str) -> bool:
    """Whether there are no control characters but line ends and tabs, and no unassigned or private characters."""
    return all(c in "\t\n\r\f" or unicodedata.category(c) not in {"Cc", "Cn", "Co", "Cs"} for c in set(text))


def reads_as_chinese(text: str, *, common: frozenset[str]) -> bool:
    """Whether most characters beyond ASCII are `common` hanzi, and the most frequent among them as frequent as usual.

    Bytes of another encoding give rare hanzi (Latin-1, Big5, Shift-JIS), or common ones without the few hundred that
    make up half of any Chinese text (EUC-KR), or kana (EUC-JP).
    """
    beyond_ascii = _beyond_ascii(text)
    hanzi = [c for c in beyond_ascii if "\u3400" <= c <= "\u9fff" or c >= "\U00020000"]
    kana = sum("\u3041" <= c <= "\u30fe" for c in beyond_ascii)
    if not hanzi or kana * 20 > len(hanzi) or len(hanzi) * 2 < len(beyond_ascii):
        return False
    if len(hanzi) < 2 * len(_HANZI_WITHIN_WORD.findall(text)):
        return False  # an accent between two letters, read as a double-byte character
    known = _share(hanzi, common)
    frequent = _share(hanzi, _FREQUENT_HANZI)
    return known >= 0.9 and (frequent >= 0.15 or (len(hanzi) < 20 and known == 1.0 and frequent > 0))


def reads_as_any_chinese(text: str) -> bool:
    """Whether the text reads as Chinese in simplified or in traditional characters."""
    return any(reads_as_chinese(text, common=common_characters(standard)) for standard in ("gb2312", "big5"))


def reads_as_language(text: str) -> bool:
    """Whether the text reads as Chinese, Japanese or Korean."""
    return reads_as_any_chinese(text) or reads_as_japanese(text) or reads_as_korean(text)


def is_everyday(character: str) -> bool:
    """Whether the character is in everyday use in Chinese, Japanese or Korean."""
    return (
        "\u3000" <= character <= "\u30fe"
        or "\uac00" <= character <= "\ud7a3"
        or "\uff01" <= character <= "\uff5e"
        or any(character in common_characters(standard) for standard in ("gb2312", "big5", "euc_jp"))
    )


def reads_as_japanese(text: str) -> bool:
    """Whether kana and kanji have their usual shares, with hardly any half-width kana."""
    beyond_ascii = _beyond_ascii(text)
    kana = sum("\u3041" <= c <= "\u30fe" for c in beyond_ascii)
    kanji = [c for c in beyond_ascii if "\u3400" <= c <= "\u9fff"]
    half_width = sum("\uff61" <= c <= "\uff9f" for c in beyond_ascii)
    return (
        kana >= 5
        and kana >= 0.15 * len(beyond_ascii)
        and half_width <= 0.02 * len(beyond_ascii)
        and (not kanji or _share(kanji, common_characters("euc_jp")) >= 0.9)
    )


def reads_as_korean(text: str) -> bool:
    """Whether most characters beyond ASCII are hangul, and the most frequent syllables have their usual share."""
    beyond_ascii = _beyond_ascii(text)
    hangul = [c for c in beyond_ascii if "\uac00" <= c <= "\ud7a3"]
    return len(hangul) >= max(5, 0.7 * len(beyond_ascii)) and _share(hangul, _FREQUENT_HANGUL) >= 0.2


def alphabetic_likeness(text: str) -> float | None:
    """The log-likelihood of the characters beyond ASCII in the language that fits best; None if none fits."""
    beyond_ascii = Counter(_beyond_ascii(text))
    letters = Counter({c: n for c, n in beyond_ascii.items() if _is_letter(c) and c not in _SIGN_LIKELIHOODS})
    signs = {c: n for c, n in beyond_ascii.items() if c not in letters}
    unknown_signs = sum(n for c, n in signs.items() if c not in _SIGN_LIKELIHOODS)
    strange = sum(len(pattern.findall(text)) for pattern in (_STRANGE_WORD, _MIXED_WORD)) + _capitals_within_words(text)
    if unknown_signs > 0.03 * sum(signs.values()) or strange > 0.02 * beyond_ascii.total():
        return None
    if not _signs_are_paired(text):
        return None
    all_letters = sum(c.isalpha() for c in text)
    other_letters = sum(n for c, n in letters.items() if c >= "\u0370")
    if 0 < other_letters < 3 and all_letters > 10 * other_letters:
        return None  # a letter or two of another alphabet in a Latin text
    if other_letters >= 20 and max(letters.values()) > 0.35 * other_letters:
        return None  # one half of each character of a double-byte encoding
    unlikely = _unlikely_languages(letters.total() / max(all_letters, 1), all_letters)
    best = max(
        _log_likelihood(letters, shares) - (_WRONG_DENSITY if language in unlikely else 0.0)
        for language, shares in _letter_shares().items()
    )
    if letters and best < _LEAST_MEAN * sum(map(_weight, letters.values())):
        return None
    return best + sum(_SIGN_LIKELIHOODS.get(c, _LEAST) * _weight(n) for c, n in signs.items())


def _signs_are_paired(text: str) -> bool:
    """Whether something closes what signs of the text have opened, and „ what “ closes."""
    if _CLOSING_QUOTE.search(text) is not None and "„" not in text:
        return False
    found = {*text}
    return all(sign not in found or found & {*others} for sign, others in _PAIRED_SIGNS.items())


def _is_letter(character: str) -> bool:
    """Whether the character is a letter, or a mark that is written with one, as Thai vowels are."""
    return character.isalpha() or unicodedata.category(character) in {"Mn", "Mc"}


def _unlikely_languages(density: float, letters: int) -> frozenset[str]:
    """Languages whose texts do not have such a low, or such a high, share of letters beyond ASCII."""
    if density < 0.01:
        return DENSE_LANGUAGES
    return frozenset(["English"]) if density > 0.04 and letters > 60 else frozenset()


@cache
def common_characters(codec: str) -> frozenset[str]:
    """The first level of a national character set: the characters of everyday use.

    GB 2312: 3,755 hanzi; Big5: 5,401; JIS X 0208: 2,965 kanji.
    """
    rows, cells = {
        "gb2312": (range(0xB0, 0xD8), range(0xA1, 0xFF)),
        "big5": (range(0xA4, 0xC7), [*range(0x40, 0x7F), *range(0xA1, 0xFF)]),
        "euc_jp": (range(0xB0, 0xD0), range(0xA1, 0xFF)),
    }[codec]
    return frozenset(bytes((row, cell)).decode(codec, "ignore") for row in rows for cell in cells) - {""}


def _beyond_ascii(text: str) -> list[str]:
    return [c for c in text if c > "\x7f"][:20_000]


def _share(characters: list[str], among: frozenset[str]) -> float:
    return sum(c in among for c in characters) / len(characters)


def _capitals_within_words(text: str) -> int:
    """The number of capitals beyond ASCII that follow a small letter."""
    pairs = ((text[m.start() - 1], m[0]) for m in _LETTER_WITHIN_WORD.finditer(text))
    return sum(before.islower() and letter.isupper() for before, letter in pairs)


def _weight(count: int) -> float:
    """The evidence of a letter that occurs `count` times; a word that is repeated is not as many times the evidence."""
    return float(count**_DAMPING)


def _log_likelihood(letters: Counter[str], shares: dict[str, float]) -> float:
    """The sum over the letters, with log counts: a word that occurs twenty times is not twenty times the evidence."""
    return sum(_weight(count) * shares.get(letter, _LEAST) for letter, count in letters.items())


@cache
def _letter_shares() -> dict[str, dict[str, float]]:
    """For each language, the logarithm of each letter's share; a capital is a tenth as frequent."""
    return {language: _shares(letters) for language, letters in (LATIN_LANGUAGES | OTHER_LANGUAGES).items()}


def _shares(letters: Iterable[str]) -> dict[str, float]:
    weights = {letter: 1 / (rank + 2) for rank, letter in enumerate(letters)}
    total = sum(weights.values()) * 1.1
    shares = {letter: math.log(weight / total) for letter, weight in weights.items()}
    capitals = {letter.upper(): share + math.log(0.1) for letter, share in shares.items() if len(letter.upper()) == 1}
    return {**capitals, **shares}
