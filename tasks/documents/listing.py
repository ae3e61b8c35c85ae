"""The files of the sources, in one stable order, without opening any of them.

**What is listed.** Regular files below each SOURCE folder whose path below that folder matches an `include` pattern
(none given: the suffixes that this room knows) and no `exclude` pattern. A file named as a SOURCE itself is always
taken, whatever it is called. Pipes, sockets and devices are never touched.

**What is left out by itself.** Names that begin with a dot, and what version control, editors and archivers leave
behind (`LEFTOVERS`). A SOURCE folder that is called so itself is still listed.

**Patterns** follow `.gitignore`: a pattern without a slash (but at its end) matches a name at any depth, one with a
slash the path below the SOURCE; `*` and `?` stop at a slash, `**` does not; a slash at the end means a folder and all
below it. Case is ignored, so that `*.pdf` also takes `REPORT.PDF`.

**Links.** A link to a folder is not followed: one that stays inside leads to files that are listed anyway (or round in
a circle), and one that leaves is reported, with the advice to name its target as a SOURCE. A link to a file is listed
under its own name, unless its target is listed already under the same SOURCE.

**Order** is that of the paths' bytes, whatever the file system gives and in whichever order the sources were named; a
file below two sources appears once.

The bytes of one file.

Patterns of `sources.include` and `sources.exclude`, as `listing` describes them.
"""

import contextlib
import hashlib
import heapq
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from millrace.tasks.documents.formats import FORMATS
from millrace.tasks.errors import ConfigurationError, SourceError
from millrace.tasks.records import Reject, SourceFile


def bytes_of(path: str) -> bytes:
    """All bytes of a regular file, whatever may have taken its place since it was listed.

    Raises:
        OSError: it cannot be read, or is no regular file any more.
    """
    # Without O_NONBLOCK, opening a pipe waits for its writer for ever.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no regular file any more")
        return opened.read()


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


DEFAULT_INCLUDE = tuple(f"*{suffix}" for suffix in FORMATS)
LEFTOVERS = ("*~", "#*#", "~$*", "*.swp", "*.orig", "*.rej", "CVS/", "__MACOSX/", "__pycache__/", "lost+found/")

_HASH_BLOCK_BYTES = 1 << 20


def list_files(
    sources: Sequence[Path], *, include: Sequence[str] = (), exclude: Sequence[str] = (), base: Path | None = None
) -> Iterator[SourceFile | Reject]:
    """The files below `sources`, ordered by the bytes of their names; what could not be listed comes as a Reject.

    Names are absolute POSIX paths, or paths below `base`. The sources themselves are checked before the first item.

    Raises:
        ConfigurationError: no source was given, a pattern is empty, or a source lies outside `base`.
        SourceError: a source does not exist, cannot be read, or is neither a file nor a folder.
    """
    if not sources:
        raise ConfigurationError("No source was given; name at least one file or folder.")
    selection = Selection.of(include or DEFAULT_INCLUDE, (*LEFTOVERS, *exclude))
    prefix = _name_prefix(base)
    roots = [_absolute(source) for source in sources]
    for root in roots:
        _check_source(root, prefix)
    return _merged([_walk(root, selection, prefix) for root in sorted(set(roots))])


def file_hash(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes as 64 hex digits, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with Path(path).open("rb", buffering=0) as file:
        while block := file.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - resolve() would put the targets of links into the names


def _name_prefix(base: Path | None) -> str:
    """What is taken off the front of absolute paths to make names: "" or the folder `base` with a slash."""
    if base is None:
        return ""
    folder = _absolute(base)
    return folder if folder.endswith("/") else folder + "/"


def _check_source(root: str, prefix: str) -> None:
    if prefix and not (root + "/").startswith(prefix):
        raise ConfigurationError(
            f"The source {_shown(root)} lies outside the base folder {_shown(prefix)}; "
            "name sources below the base, or change `sources.base`."
        )
    try:
        mode = Path(root).stat().st_mode
        if stat.S_ISDIR(mode):
            os.scandir(root).close()
            return
    except OSError as error:
        raise SourceError(
            f"The source {_shown(root)} cannot be read ({error.strerror}); check its path, permissions and mount."
        ) from error
    if not stat.S_ISREG(mode):
        raise SourceError(f"The source {_shown(root)} is neither a file nor a folder; name a file or a folder.")
    if not os.access(root, os.R_OK):
        raise SourceError(f"The source {_shown(root)} may not be read by this user; check its permissions.")


def _merged(listings: list[Iterator[tuple[bytes, SourceFile | Reject]]]) -> Iterator[SourceFile | Reject]:
    """One ordered listing out of several, each path once."""
    last = None
    for path, item in heapq.merge(*listings, key=lambda entry: entry[0]):
        if path != last:
            yield item
        last = path


def _walk(root: str, selection: Selection, prefix: str) -> Iterator[tuple[bytes, SourceFile | Reject]]:
    """Pairs of (path bytes, item) below one SOURCE, ordered by those bytes.

    An explicit stack, because folders may lie deeper than Python may recurse.
    """
    status = Path(root).stat()
    if stat.S_ISREG(status.st_mode):
        yield _item(root, status, prefix)
        return
    below = len(root) + (not root.endswith("/"))
    real_root = os.path.realpath(root)
    stack: list[Iterator[os.DirEntry[str]]] = [iter(_entries(root))]
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
            continue
        relative = entry.path[below:]
        if entry.is_symlink():
            yield from _link(entry, relative, real_root, selection, prefix)
        elif entry.is_dir(follow_symlinks=False):
            if selection.takes_folder(entry.name, relative):
                opened = _folder(entry, prefix)
                if isinstance(opened, Reject):
                    yield os.fsencode(entry.path), opened
                else:
                    stack.append(iter(opened))
        elif entry.is_file(follow_symlinks=False) and selection.takes_file(entry.name, relative):
            with contextlib.suppress(FileNotFoundError):  # deleted since the folder was read
                yield _item(entry.path, entry.stat(follow_symlinks=False), prefix)


def _folder(entry: os.DirEntry[str], prefix: str) -> list[os.DirEntry[str]] | Reject:
    if not _encodable(entry.name):
        return _name_reject(entry.path, prefix)
    try:
        return _entries(entry.path)
    except OSError as error:
        return _reject(
            entry.path, prefix, "unreadable", f"The folder cannot be listed ({error.strerror}).",
            "Check its permissions, or leave it out with `sources.exclude`.",
        )  # fmt: skip


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """The entries of a folder, such that walking into folders as they come gives the order of the paths' bytes."""
    with os.scandir(folder) as entries:
        return sorted(entries, key=_path_order)


def _path_order(entry: os.DirEntry[str]) -> bytes:
    name = os.fsencode(entry.name)
    return name + b"/" if entry.is_dir(follow_symlinks=False) else name


def _link(
    entry: os.DirEntry[str], relative: str, real_root: str, selection: Selection, prefix: str
) -> Iterator[tuple[bytes, SourceFile | Reject]]:
    target = os.path.realpath(entry.path)
    inside = os.path.commonpath([real_root, target]) == real_root
    wanted = selection.takes_file(entry.name, relative)
    path = os.fsencode(entry.path)
    try:
        status = Path(target).stat()
    except OSError as error:
        if wanted:
            yield path, _reject(
                entry.path, prefix, "broken_link", f"The link leads to {_shown(target)} ({error.strerror}).",
                "Mend or remove the link, or leave it out with `sources.exclude`.",
            )  # fmt: skip
        return
    if stat.S_ISDIR(status.st_mode):
        if not inside and selection.takes_folder(entry.name, relative):
            yield path, _reject(
                entry.path, prefix, "link_leaves_source", f"The link leads out of the source, to {_shown(target)}.",
                "Name that folder as a source of its own, or leave the link out with `sources.exclude`.",
            )  # fmt: skip
    elif stat.S_ISREG(status.st_mode) and wanted:
        listed_itself = inside and selection.takes_path(os.path.relpath(target, real_root))
        if not listed_itself:
            yield _item(entry.path, status, prefix)


def _item(path: str, status: os.stat_result, prefix: str) -> tuple[bytes, SourceFile | Reject]:
    if not _encodable(path):
        return os.fsencode(path), _name_reject(path, prefix)
    return os.fsencode(path), SourceFile(path, path[len(prefix) :], status.st_size, status.st_mtime_ns)


def _name_reject(path: str, prefix: str) -> Reject:
    return _reject(
        path, prefix, "name_not_utf8", "The name is not valid UTF-8, so it can neither be stored nor shown.",
        "Rename it, for instance with `convmv -f gb18030 -t utf8`.",
    )  # fmt: skip


def _reject(path: str, prefix: str, reason: str, message: str, remedy: str) -> Reject:
    return Reject("scan", _shown(path[len(prefix) :]), "", reason, message, remedy)


def _encodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(path: str) -> str:
    """The path in a form that can be stored and shown, whatever its bytes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
