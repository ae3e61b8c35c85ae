"""The files of the sources, in one stable order, and a count of what was left out.

**What is listed.** Regular files below each SOURCE folder whose path below that folder matches an `include` pattern
(none given: the suffixes that this room knows) and no `exclude` pattern. A file named as a SOURCE itself is always
taken, whatever it is called, unless its first bytes show a kind of file that no reader takes. A file without a suffix
is taken where its first bytes show a format (a PDF, an Office file), unless `include` says otherwise. Pipes, sockets
and devices are never touched.

**What is left out by default.** Names that begin with a dot, what tools leave beside documents (`LEFTOVERS`:
`node_modules`, caches, backup copies), and folders that are marked as a cache (`CACHEDIR.TAG`) or hold a virtual
environment (`pyvenv.cfg`). A SOURCE folder that is called so itself is still listed. Everything that is left out is
counted (`Listing.left_out`).

**Patterns** follow `.gitignore`: a pattern without a slash (but at its end) matches a name at any depth, one with a
slash the path below the SOURCE; `*` and `?` stop at a slash, `**` does not; a slash at the end means a folder and all
below it. Case is ignored, so that `*.pdf` also takes `REPORT.PDF`.

**Links.** A link that leads out of its source is a reject: a source may come from others, and a link in it could name
any file of this machine. `follow_links` takes the files, never the folders, that such links lead to. A link to a folder
inside the source is not followed, because the folder is listed anyway. A link to a file inside the source is listed
under its own name, unless its target is listed already. What is opened later is checked again (`source_bytes`).

**Order** is that of the paths' bytes, whatever the file system gives and in whichever order the sources were named; a
file below two sources appears once.
"""

import heapq
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from millrace.tasks.documents.file_kinds import HEAD_BYTES, kind_of
from millrace.tasks.documents.formats import CONVERT, FORMATS, has_telling_content, known_format, unsupported
from millrace.tasks.documents.source_bytes import open_source
from millrace.tasks.errors import ConfigurationError, Rejected, SourceError
from millrace.tasks.records import LeftOut, Reject, SourceFile, suffix_of

DEFAULT_INCLUDE = tuple(f"*{suffix}" for suffix in FORMATS)
LEFTOVERS = (
    *("*~", "#*#", "~$*", "*.swp", "*.orig", "*.rej", "CVS/", "__MACOSX/", "__pycache__/", "lost+found/"),
    *("node_modules/", "bower_components/"),
)
"""Patterns of what editors, archivers, version control and package managers leave beside documents."""

_TOOL_FOLDER_MARKS = frozenset(["CACHEDIR.TAG", "pyvenv.cfg"])
"""Files that mark the folder they are in. Source: bford.info/cachedir and PEP 405, read 2026-11."""

_SIGNS = re.compile(r"\*\*/|/\*\*|\*\*|\*|\?|\[[!^]?\]?[^\]]*\]|.", re.DOTALL)
_REGEX_OF = {"**/": "(?:[^/]+/)*", "/**": "/.+", "**": ".*", "*": "[^/]*", "?": "[^/]"}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which paths below a SOURCE are listed; `relative` is always the POSIX path below it."""

    include: re.Pattern[str]
    exclude: re.Pattern[str]
    exclude_files: re.Pattern[str]  # without the patterns for folders, which are not entered
    leftovers: tuple[tuple[str, re.Pattern[str]], ...]
    reject_unknown: bool
    by_content: bool

    @classmethod
    def of(
        cls, include: Sequence[str], exclude: Sequence[str], *, reject_unknown: bool = False, by_content: bool = False
    ) -> "Selection":
        """The selection for these patterns; `LEFTOVERS` are excluded too.

        Raises:
            ConfigurationError: a pattern is empty.
        """
        excluded = (*LEFTOVERS, *exclude)
        return cls(
            _any_of(include),
            _any_of(excluded),
            _any_of([each for each in excluded if not each.endswith("/")]),
            tuple((each, _any_of([each])) for each in LEFTOVERS),
            reject_unknown,
            by_content,
        )

    def takes_folder(self, name: str, relative: str) -> bool:
        """Whether the walk goes into this folder."""
        return not name.startswith(".") and self.exclude.fullmatch(relative + "/") is None

    def takes_file(self, name: str, relative: str) -> bool:
        """Whether this file is listed, its folder being so."""
        return (
            not name.startswith(".")
            and self.include.fullmatch(relative) is not None
            and self.exclude_files.fullmatch(relative) is None
            and (
                not name.lower().endswith(".gz")
                or known_format(name) is not None
                or self.include.fullmatch(relative[: -len(".gz")]) is not None
            )
        )

    def takes_path(self, relative: str) -> bool:
        """Whether a walk from the SOURCE would come to this file and list it."""
        *folders, name = relative.split("/")
        below = ("/".join(folders[: i + 1]) for i in range(len(folders)))
        return all(map(self.takes_folder, folders, below)) and self.takes_file(name, relative)

    def why_left_out(self, name: str, relative: str, *, is_folder: bool) -> "_LeftOutItem":
        """Why a file or folder that is not taken is left out."""
        if name.startswith("."):
            return _LeftOutItem("hidden")
        path = relative + "/" if is_folder else relative
        if self.exclude.fullmatch(path) is None:
            return _LeftOutItem("unsupported", PurePosixPath(name).suffix.lower())
        pattern = next((pattern for pattern, regex in self.leftovers if regex.fullmatch(path)), "")
        return _LeftOutItem("by_tools", pattern) if pattern else _LeftOutItem("excluded")


@dataclass(frozen=True, slots=True)
class _LeftOutItem:
    """One file or folder that is left out: the field of `LeftOut` that counts it, and its key there, if any."""

    field: str
    key: str = ""

    def counted(self) -> LeftOut:
        """It alone, as a count."""
        return _as_counts(Counter([self]))


_NO_SUFFIX = _LeftOutItem("unsupported", "")


def _any_of(patterns: Sequence[str]) -> re.Pattern[str]:
    """A regular expression for the whole of a path below the SOURCE, where a folder's path ends in a slash."""
    choices = [_glob_regex(pattern) for pattern in patterns if "/" in pattern[:-1]]
    at_any_depth = [_glob_regex(pattern) for pattern in patterns if "/" not in pattern[:-1]]
    if at_any_depth:  # together, because the folders are then looked for once
        choices.append(f"(?:.*/)?(?:{'|'.join(at_any_depth)})")
    return re.compile("|".join(choices), re.IGNORECASE | re.DOTALL)


def _glob_regex(pattern: str) -> str:
    if not pattern.strip("/"):
        raise ConfigurationError(f"The pattern {pattern!r} matches nothing; write for instance '*.pdf' or 'drafts/'.")
    body = "".join(_sign_regex(sign) for sign in _SIGNS.findall(pattern.removeprefix("/").rstrip("/")))
    return f"{body}{'/.*' if pattern.endswith('/') else '/?'}"


def _sign_regex(sign: str) -> str:
    if sign in _REGEX_OF:
        return _REGEX_OF[sign]
    if sign.startswith("[") and len(sign) > 2:
        negated = sign[1] in "!^"
        members = sign[2 if negated else 1 : -1].replace("\\", r"\\").replace("[", r"\[").replace("]", r"\]")
        return f"(?!/)[{'^' if negated else ''}{members}]" if members else re.escape(sign)
    return re.escape(sign)


_Found = SourceFile | Reject
_Entry = tuple[str, _Found | _LeftOutItem]


class Listing(Iterator[SourceFile | Reject]):
    """The files below the sources, and a Reject for each item that could not be listed, ordered by path."""

    def __init__(self, entries: Iterator[_Found | _LeftOutItem]) -> None:
        """List what is among `entries`, and count the rest."""
        self._entries = entries
        self._counts: Counter[_LeftOutItem] = Counter()
        self.listed: Counter[str] = Counter()
        """How many files and rejects there were up to the last item taken, by suffix."""

    def __next__(self) -> SourceFile | Reject:
        """The next file or reject."""
        for found in self._entries:
            if not isinstance(found, _LeftOutItem):
                self.listed[suffix_of(found.source if isinstance(found, Reject) else found.name)] += 1
                return found
            self._counts[found] += 1
        raise StopIteration

    @property
    def left_out(self) -> LeftOut:
        """What was left out up to the last item taken: everything, once the listing is exhausted."""
        return _as_counts(self._counts)


def _as_counts(counts: Counter[_LeftOutItem]) -> LeftOut:
    def by_key(field: str) -> dict[str, int]:
        return {item.key: count for item, count in sorted(counts.items(), key=str) if item.field == field}

    return LeftOut(
        unsupported=by_key("unsupported"),
        hidden=counts[_LeftOutItem("hidden")],
        excluded=counts[_LeftOutItem("excluded")],
        by_tools=by_key("by_tools"),
        not_regular=counts[_LeftOutItem("not_regular")],
    )


def list_files(
    sources: Sequence[Path],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    base: Path | None = None,
    follow_links: bool = False,
    reject_unknown: bool = False,
) -> Listing:
    """The files below `sources`, ordered by the bytes of their names; what could not be listed comes as a Reject.

    Names are absolute POSIX paths, or paths below `base`. The sources themselves are checked before the first item.
    With `follow_links`, files outside the sources are taken where a link inside leads to them. With `reject_unknown`,
    a file that `include` does not match is a Reject, unless it is left out for another reason.

    Raises:
        ConfigurationError: no source was given, a pattern is empty, or a source lies outside `base`.
        SourceError: a source does not exist, cannot be read, or is neither a file nor a folder.
    """
    if not sources:
        raise ConfigurationError("No source was given; name at least one file or folder.")
    by_content = set(DEFAULT_INCLUDE) <= {*(include or DEFAULT_INCLUDE)}
    selection = Selection.of(include or DEFAULT_INCLUDE, exclude, reject_unknown=reject_unknown, by_content=by_content)
    prefix = _name_prefix(base)
    roots = sorted({_absolute(source) for source in sources})
    for root in roots:
        _check_source(root, prefix)
    folders = tuple(root for root in roots if Path(root).is_dir())
    walks = [_Walk(root, folders, selection, prefix, follow_links=follow_links).entries() for root in roots]
    return Listing(_merged(walks))


def list_known_files(paths: Iterable[str], *, include: Sequence[str] = ()) -> Listing:
    """Those of the files at `paths` that are there and may be read, in their order, as if each was named as a SOURCE.

    What no reader takes comes as a Reject.
    """
    selection = Selection.of(include or DEFAULT_INCLUDE, ())

    def entries() -> Iterator[_Found | _LeftOutItem]:
        for path in paths:
            try:
                status = os.stat(path)  # noqa: PTH116 - there may be a million of them
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK):
                yield _Walk(path, (), selection, "", follow_links=False).named_file(status)[1]

    return Listing(entries())


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - resolve() would put the targets of links into the names


def _name_prefix(base: Path | None) -> str:
    """The part of absolute paths that names leave out: "" or the folder `base` with a slash."""
    if base is None:
        return ""
    folder = _absolute(base)
    return folder if folder.endswith("/") else folder + "/"


def _check_source(root: str, prefix: str) -> None:
    if prefix and not (root + "/").startswith(prefix):
        raise ConfigurationError(
            f"The source {_printable(root)} lies outside the base folder {_printable(prefix)}; "
            "name sources below the base, or change `sources.base`."
        )
    try:
        mode = Path(root).stat().st_mode
        if stat.S_ISDIR(mode):
            os.scandir(root).close()
    except OSError as error:
        raise SourceError(
            f"The source {_printable(root)} cannot be read ({error.strerror}); check its path, permissions and mount."
        ) from error
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise SourceError(f"The source {_printable(root)} is neither a file nor a folder; name a file or a folder.")
    if not os.access(root, os.R_OK | os.X_OK if stat.S_ISDIR(mode) else os.R_OK):
        raise SourceError(f"The source {_printable(root)} may not be read by this user; check its permissions.")


def _merged(walks: list[Iterator[_Entry]]) -> Iterator[_Found | _LeftOutItem]:
    """One ordered listing out of several, each path once; a path that one source leaves out and another takes is taken.

    Most runs have one source, whose paths are distinct already.
    """
    if len(walks) == 1:
        for _, found in walks[0]:
            yield found
        return
    waiting: _Entry | None = None
    for entry in heapq.merge(*walks, key=lambda entry: os.fsencode(entry[0])):
        if waiting is None or waiting[0] != entry[0]:
            if waiting is not None:
                yield waiting[1]
            waiting = entry
        elif isinstance(waiting[1], _LeftOutItem):
            waiting = entry
    if waiting is not None:
        yield waiting[1]


class _Walk:
    """One SOURCE: a folder and all below it, or a file."""

    def __init__(
        self, root: str, folders: Sequence[str], selection: Selection, prefix: str, *, follow_links: bool
    ) -> None:
        """Walk `root`, which is one of `folders` (all folders that were named as a SOURCE) or a file."""
        self._root = root
        self._folders = folders
        self._selection = selection
        self._prefix = prefix
        self._follow_links = follow_links

    def entries(self) -> Iterator[_Entry]:
        """Pairs of (path, item), ordered by the path's bytes.

        An explicit stack, because folders may lie deeper than Python may recurse.
        """
        root = self._root
        status = Path(root).stat()
        if stat.S_ISREG(status.st_mode):
            yield self.named_file(status)
            return
        below = len(root) + (not root.endswith("/"))
        stack: list[Iterator[os.DirEntry[str]]] = [iter(_sorted_entries(root))]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
                continue
            relative = entry.path[below:]
            if entry.is_symlink():
                yield from self._link(entry, relative)
            elif entry.is_dir(follow_symlinks=False):
                opened = self._folder(entry, relative)
                if isinstance(opened, list):
                    stack.append(iter(opened))
                else:
                    yield entry.path + "/", opened
            elif (found := self._file(entry, relative)) is not None:
                yield found

    def named_file(self, status: os.stat_result) -> _Entry:
        """The file that is a SOURCE itself; a Reject where its first bytes show that no reader takes it."""
        path, found = self._item(self._root, status, within=self._root)
        name = PurePosixPath(self._root)
        suffix = name.suffix
        if not isinstance(found, SourceFile) or self._selection.include.fullmatch(name.name):
            return path, found
        try:
            with open_source(found) as opened:
                head = opened.read(HEAD_BYTES)
        except (OSError, Rejected):  # the reader will say why
            return path, found
        kind = kind_of(head, suffix)
        if not kind or has_telling_content(head):
            return path, found
        return path, self._reject(
            self._root, "unsupported_format", f"The file is {kind}, which no reader takes.", CONVERT,
        )  # fmt: skip

    def _file(self, entry: os.DirEntry[str], relative: str) -> _Entry | None:
        """A file that is no link, or why it is not listed; None when it was deleted since its folder was read."""
        path = entry.path
        if not entry.is_file(follow_symlinks=False):
            return path, _LeftOutItem("not_regular")
        if not self._selection.takes_file(entry.name, relative):
            why = self._selection.why_left_out(entry.name, relative, is_folder=False)
            if why != _NO_SUFFIX or not self._is_known_by_content(path):
                return path, self._unsupported(path, why)
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            return path, self._unreadable(entry.path, "file", error)
        return self._item(entry.path, status)

    def _folder(self, entry: os.DirEntry[str], relative: str) -> list[os.DirEntry[str]] | Reject | _LeftOutItem:
        """The entries of a folder; or why it is not entered."""
        if not self._selection.takes_folder(entry.name, relative):
            return self._selection.why_left_out(entry.name, relative, is_folder=True)
        if not _is_utf8(entry.name):
            return self._unusable_name(entry.path)
        try:
            entries = _sorted_entries(entry.path)
        except OSError as error:
            return self._unreadable(entry.path, "folder", error)
        if not os.access(entry.path, os.X_OK):
            return self._reject(
                entry.path, "unreadable", "The files of the folder cannot be reached: it may not be entered.",
                "Give yourself the right to enter it (`chmod u+x`), or leave it out with `sources.exclude`.",
            )  # fmt: skip
        mark = next((each.name for each in entries if each.name in _TOOL_FOLDER_MARKS), None)
        return entries if mark is None else _LeftOutItem("by_tools", mark)

    def _link(self, entry: os.DirEntry[str], relative: str) -> Iterator[_Entry]:
        """What a link leads to, if it is to be listed or reported."""
        selection, path = self._selection, entry.path
        target = os.path.realpath(entry.path)
        is_wanted = selection.takes_file(entry.name, relative)
        try:
            status = Path(target).stat()
        except OSError as error:
            if is_wanted:
                yield path, self._reject(
                    entry.path, "broken_link", f"The link leads to {_printable(target)} ({error.strerror}).",
                    "Correct or remove the link, or leave it out with `sources.exclude`.",
                )  # fmt: skip
            return
        is_folder = stat.S_ISDIR(status.st_mode)
        if not (is_folder or stat.S_ISREG(status.st_mode)):
            yield path, _LeftOutItem("not_regular")
        elif not (selection.takes_folder(entry.name, relative) if is_folder else is_wanted):
            yield path, selection.why_left_out(entry.name, relative, is_folder=is_folder)
        elif not self._is_listed(target, is_folder=is_folder):
            leaves = not _is_below(target, os.path.realpath(self._root))
            if leaves and (is_folder or not self._follow_links):
                yield path, self._reject(
                    entry.path, "link_leaves_source", f"The link leads out of the source, to {_printable(target)}.",
                    "Name that folder as a source of its own, or leave the link out with `sources.exclude`."
                    if is_folder else
                    "Name that file as a source of its own, leave the link out with `sources.exclude`, or set "
                    "`sources.follow_links` if you trust the links of this source.",
                )  # fmt: skip
            elif not is_folder:
                yield self._item(entry.path, status, within=None if leaves else self._root)

    def _is_listed(self, target: str, *, is_folder: bool) -> bool:
        """Whether a walk from this source or another comes to the target of a link anyway."""
        for folder in self._folders:
            real = os.path.realpath(folder)
            if _is_below(target, real):
                relative = os.path.relpath(target, real)
                if is_folder or self._selection.takes_path(relative):
                    return True
        return False

    def _item(self, path: str, status: os.stat_result, *, within: str | None = "") -> _Entry:
        """The file at `path`, which must lie in `within` when it is opened: "" is this source, None is anywhere."""
        if not _is_utf8(path):
            return path, self._unusable_name(path)
        bound = "" if within is None else within or self._root
        name = path[len(self._prefix) :]
        inode = status.st_ino if status.st_ino < 1 << 63 else status.st_ino - (1 << 64)  # an int64 in the manifest
        stat_of = (status.st_size, status.st_mtime_ns, bound, status.st_ctime_ns, inode)
        return path, SourceFile(path, name, *stat_of)

    def _unusable_name(self, path: str) -> Reject:
        return self._reject(
            path, "name_not_utf8", "The name is not valid UTF-8, so it can neither be stored nor shown.",
            "Rename it, for instance with `convmv -f gb18030 -t utf8`.",
        )  # fmt: skip

    def _is_known_by_content(self, path: str) -> bool:
        if not self._selection.by_content:
            return False
        try:
            with open_source(SourceFile(path, path, 0, 0, self._root)) as opened:
                return has_telling_content(opened.read(HEAD_BYTES))
        except (OSError, Rejected):
            return False

    def _unsupported(self, path: str, why: _LeftOutItem) -> Reject | _LeftOutItem:
        """Why a file is left out, or a reject where that is wanted of files that no reader takes."""
        if why.field != "unsupported" or not self._selection.reject_unknown:
            return why
        return unsupported("scan", _printable(path[len(self._prefix) :]), why.key)

    def _unreadable(self, path: str, kind: str, error: OSError) -> Reject:
        return self._reject(
            path, "unreadable", f"The {kind} cannot be listed ({error.strerror}).",
            "Check its permissions and the length of its path, or leave it out with `sources.exclude`.",
        )  # fmt: skip

    def _reject(self, path: str, reason: str, message: str, remedy: str) -> Reject:
        return Reject("scan", _printable(path[len(self._prefix) :]), "", reason, message, remedy)


def _sorted_entries(folder: str) -> list[os.DirEntry[str]]:
    """The entries of a folder, such that walking into folders as they come gives the order of the paths' bytes."""
    with os.scandir(folder) as entries:
        return sorted(entries, key=_path_order)


def _path_order(entry: os.DirEntry[str]) -> bytes:
    name = os.fsencode(entry.name)
    return name + b"/" if entry.is_dir(follow_symlinks=False) else name


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(path: str) -> str:
    """The path in a form that can be stored and shown, whatever its bytes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
