"""Patterns of `sources.include` and `sources.exclude`, as `listing` describes them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.errors import ConfigurationError

_SIGNS = re.compile(r"\*\*/|/\*\*|\*\*|\*|\?|\[[!^]?\]?[^\]]*\]|.", re.DOTALL)
_REGEX_OF = {"**/": "(?:[^/]+/)*", "/**": "/.+", "**": ".*", "*": "[^/]*", "?": "[^/]"}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which paths below a SOURCE are listed; `relative` is always the POSIX path below it."""

    include: re.Pattern[str]
    exclude: re.Pattern[str]

    @classmethod
    def of(cls, include: Sequence[str], exclude: Sequence[str]) -> "Selection":
        """The selection for these patterns.

        Raises:
            ConfigurationError: a pattern is empty.
        """
        return cls(
            re.compile("|".join(map(_glob_regex, include)), re.IGNORECASE | re.DOTALL),
            re.compile("|".join(map(_glob_regex, exclude)), re.IGNORECASE | re.DOTALL),
        )

    def takes_folder(self, name: str, relative: str) -> bool:
        """Whether the walk goes into this folder."""
        return not name.startswith(".") and self.exclude.fullmatch(relative + "/") is None

    def takes_file(self, name: str, relative: str) -> bool:
        """Whether this file is listed, its folder being so."""
        return (
            not name.startswith(".")
            and self.include.fullmatch(relative) is not None
            and self.exclude.fullmatch(relative) is None
        )

    def takes_path(self, relative: str) -> bool:
        """Whether a walk from the SOURCE would come to this file and list it."""
        *folders, name = relative.split("/")
        below = ("/".join(folders[: i + 1]) for i in range(len(folders)))
        return all(map(self.takes_folder, folders, below)) and self.takes_file(name, relative)


def _glob_regex(pattern: str) -> str:
    """A regular expression for the whole of a path below the SOURCE, where a folder's path ends in a slash."""
    if not pattern.strip("/"):
        raise ConfigurationError(f"The pattern {pattern!r} matches nothing; write for instance '*.pdf' or 'drafts/'.")
    anchored = "/" in pattern[:-1]
    body = "".join(_sign_regex(sign) for sign in _SIGNS.findall(pattern.removeprefix("/").rstrip("/")))
    return f"{'' if anchored else '(?:.*/)?'}{body}{'/.*' if pattern.endswith('/') else '/?'}"


def _sign_regex(sign: str) -> str:
    if sign in _REGEX_OF:
        return _REGEX_OF[sign]
    if sign.startswith("[") and len(sign) > 2:
        negated = sign[1] in "!^"
        members = sign[2 if negated else 1 : -1].replace("\\", r"\\").replace("[", r"\[").replace("]", r"\]")
        return f"(?!/)[{'^' if negated else ''}{members}]" if members else re.escape(sign)
    return re.escape(sign)
