"""Names of files within a file: safe to store, to show and to use in an id, and distinct within their file."""

import hashlib
import re
import unicodedata

_MAX_CHARACTERS = 200
_MAX_SUFFIX_CHARACTERS = 16
_SEPARATORS = re.compile(r"[/\\]+")
_UNSEEN_CATEGORIES = frozenset(["Cc", "Cf", "Cs", "Zl", "Zp"])


def shown_name(name: str, max_characters: int = _MAX_CHARACTERS) -> str:
    r"""The name in one line of at most `max_characters`, none of them invisible; "#", which joins names, is %23.

    >>> shown_name("Q1 \x00report#2.pdf")
    'Q1 report%232.pdf'
    """
    name = "".join(" " if c in "\t\r\n" else c for c in name)
    name = "".join(c for c in name if unicodedata.category(c) not in _UNSEEN_CATEGORIES)
    name = " ".join(name.split()).replace("#", "%23")
    if len(name) <= max_characters:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix) > _MAX_SUFFIX_CHARACTERS:
        stem, dot, suffix = name, "", ""
    return stem[: max_characters - len(dot + suffix)] + dot + suffix


def file_name(name: str) -> str:
    r"""The last part of a path, as `shown_name`; "" where nothing is left of it.

    >>> file_name("../../etc/passwd"), file_name("C:\\docs\\a.pdf"), file_name("..")
    ('passwd', 'a.pdf', '')
    """
    last = shown_name(_SEPARATORS.split(name.rstrip("/\\"))[-1])
    return "" if last.strip(". ") == "" else last


class DistinctNames:
    """Gives each name once: of those that come again the second is `a-2.pdf`, in the order in which they come."""

    def __init__(self) -> None:
        self._taken: set[bytes] = set()  # digests, since a mailbox may have a million names

    def take(self, name: str) -> str:
        """The name, or one made of it that was not given yet."""
        stem, dot, suffix = name.rpartition(".")
        if not stem:
            stem, dot, suffix = name, "", ""
        taken, number = name, 1
        while not self.take_as_it_is(taken):
            number += 1
            taken = f"{stem}-{number}{dot}{suffix}"
        return taken

    def take_as_it_is(self, name: str) -> bool:
        """Whether the name was free; it is taken now."""
        digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
        is_free = digest not in self._taken
        self._taken.add(digest)
        return is_free
