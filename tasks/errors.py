"""The exception tree, split by what the caller should do.

    MillraceError
    |-- ConfigurationError      fix the configuration; nothing was started          (ExitCode.USAGE)
    |-- RunStopped              the run cannot go on; what is finished stays        (ExitCode.STOPPED)
    |   |-- SourceError         a source is missing, unreadable, or lost too much
    |   |-- ProviderStopped     the provider says no in a way that waiting cannot heal
    |   |-- LakeError           the lake is damaged, read-only, full, or from a newer version
    |   |   |-- LeaseHeld       another process is writing to this lake or collection
    |   |   `-- LakeUnreachable the storage that the lake is on refuses or does not answer; nothing is known of damage
    |   `-- CollectionError     Milvus is unreachable, or the collection has another shape
    |       `-- CollectionMissing   Milvus is there, and the collection is not
    |-- BudgetReached           the cap in yuan would be passed                     (ExitCode.BUDGET)
    |-- Transient               wait, then try again
    |   |-- Throttled           HTTP 429 that means rate
    |   |-- ProviderUnavailable 5xx, a lost connection, a time-out
    |   `-- InvalidResponse    an answer that does not prove itself (see `tasks.embedding.providers.validation`)
    `-- Rejected                record the item and go on
        `-- TextsRefused        the provider refused a request because of what is in its texts

Exceptions of SDKs are translated once, in the room that names the SDK, by type, status and code. A message says which
item, what was expected, what came and what to do.
"""

from enum import IntEnum
from typing import Literal

from millrace.tasks.secrets import mask


class ExitCode(IntEnum):
    """What a command exits with; `meaning` is a line for people.

    >>> int(ExitCode.REJECTS), ExitCode.REJECTS.meaning
    (3, 'finished, but some items were rejected; `millrace rejects list` names them')
    """

    DONE = 0, "finished, and everything is in"
    STOPPED = 1, "stopped by an error, or what was compared does not agree; what was finished until then stays"
    USAGE = 2, "a setting, a flag or an argument is wrong; nothing was started"
    REJECTS = 3, "finished, but some items were rejected; `millrace rejects list` names them"
    BUDGET = 4, "stopped at the cap of budget.max_cny; the same command goes on from there"
    INTERRUPTED = 130, "interrupted by Ctrl-C or SIGTERM; the same command goes on from there"

    meaning: str

    def __new__(cls, code: int, meaning: str) -> "ExitCode":
        """The code itself, with its meaning beside it."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member


class MillraceError(Exception):
    """Any failure that millrace itself reports. `str()` of it is fit to be shown to a user: secrets are masked."""

    exit_code = ExitCode.STOPPED
    """What a command that ends in this error exits with."""

    def __init__(self, message: str = "") -> None:
        super().__init__(mask(message))


class ConfigurationError(MillraceError):
    """A setting, a flag or an argument is wrong; nothing was started."""

    exit_code = ExitCode.USAGE


class RunStopped(MillraceError):
    """The run cannot go on. What was finished stays finished.

    `summary` counts it, where a run was begun (`millrace.ingest`).
    """

    summary: object = None


class SourceError(RunStopped):
    """A source is missing or unreadable, or so much of it is gone that deleting would be rash."""


class ProviderStopped(RunStopped):
    """The provider refuses in a way that waiting cannot heal: wrong key, no such model, arrears.

    `code` and `request_id` are the provider's own words, empty where it gave none.
    """

    def __init__(self, message: str, *, code: str = "", request_id: str = "") -> None:
        super().__init__(message)
        self.code = mask(code)
        self.request_id = mask(request_id)


class LakeError(RunStopped):
    """The lake cannot be read or written as it must be."""


class LeaseHeld(LakeError):
    """Another living process writes to this lake or collection."""


class LakeUnreachable(LakeError):
    """The storage that the lake is on refuses or does not answer. Whether anything is damaged is not known."""


class CollectionError(RunStopped):
    """Milvus is unreachable, refuses, or holds a collection of another shape."""


class CollectionMissing(CollectionError):
    """Milvus holds no collection of that name, and it was not to be made."""


class BudgetReached(MillraceError):
    """The next request could pass the cap of `budget.max_cny`; the run stops cleanly before it.

    `summary` counts what was done, where a run was begun (`millrace.ingest`).
    """

    summary: object = None
    exit_code = ExitCode.BUDGET


class Transient(MillraceError):
    """Worth another try after a wait. `retry_after_s` is the provider's wish, None where it gave none."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


ThrottledLimit = Literal["requests", "tokens", "growth", "unknown"]


class Throttled(Transient):
    """HTTP 429 that means rate, not money. `limit` says which limit the provider named."""

    def __init__(self, message: str, *, limit: ThrottledLimit, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.limit = limit


class ProviderUnavailable(Transient):
    """The provider failed to answer: 5xx, a lost connection, a time-out, a body that is no answer."""


class InvalidResponse(Transient):
    """An answer came, but it does not prove that each vector belongs to its text."""


class Rejected(MillraceError):
    """One item cannot be taken; it is recorded with its reason and the others go on.

    `reason` is a stable snake_case code for grouping, `remedy` what the user can do about it.
    """

    def __init__(self, message: str, *, reason: str, remedy: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.remedy = mask(remedy)


class TextsRefused(Rejected):
    """The provider refused a whole request because of what at least one of its texts is or says."""
