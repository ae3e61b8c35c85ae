"""How much may come out of one file, with all that lies in it: a small file cannot keep a reader for ever."""

from millrace.tasks.errors import Rejected

MAX_ENTRIES = 100_000
"""Files in one archive. All of them are read again when one of them changes, so that beyond it a folder is better."""
MAX_UNPACKED_BYTES = 50 << 30
"""Of one file, however large; for the same reason."""
MAX_RATIO = 200
"""Unpacked bytes for each packed one. Text packs to a tenth or a fiftieth, a file made to harm to a thousandth."""
UNPACKED_BYTES_OF_ANY = 256 << 20
"""What any file may give, however well it is packed."""
MEMBERS_OF_ANY = 1_000
"""Files that any file may hold, with those in them; and one more for each `BYTES_A_MEMBER` of it: a header takes more,
and only what is repeated or empty packs to less."""
BYTES_A_MEMBER = 50

_READ_BEFORE = "What was read before that stays, the rest was not read."


class MemberBudget:
    """What may still come out of a file of `size_bytes`, and of all that lies in it."""

    def __init__(self, size_bytes: int) -> None:
        self._max_bytes = min(max(UNPACKED_BYTES_OF_ANY, MAX_RATIO * size_bytes), MAX_UNPACKED_BYTES)
        self._max_members = MEMBERS_OF_ANY + size_bytes // BYTES_A_MEMBER
        self._bytes = 0
        self._members = 0

    def take_bytes(self, count: int) -> None:
        """Count bytes that were unpacked.

        Raises:
            Rejected: "too_large", naming the bound; and so whenever it is asked again.
        """
        self._bytes += count
        self._check()

    def take_member(self) -> None:
        """Count a file within the file. Raises as `take_bytes` does."""
        self._members += 1
        self._check()

    def _check(self) -> None:
        if self._bytes > self._max_bytes:
            raise too_large(f"unpacks to more than {self._max_bytes >> 20:,} MiB", _READ_BEFORE)
        if self._members > self._max_members:
            raise too_large(f"holds more than {self._max_members:,} files, too many for its size", _READ_BEFORE)


def too_many_entries() -> Rejected:
    """The fault of an archive with more than `MAX_ENTRIES`."""
    return too_large(f"holds more than {MAX_ENTRIES:,} entries", "Nothing of it was read.")


def too_large(what: str, consequence: str) -> Rejected:
    """The fault of a file that holds too much; `what` says of what, "holds more than 7 files"."""
    return Rejected(
        f"The file {what}. {consequence}",
        reason="too_large",
        remedy="If its content is sound, unpack it into a folder below the source, and leave the file itself out.",
    )
