"""The folder of one embedding space: what it is called, what it says of itself, and where its journals are."""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from millrace.tasks.errors import LakeError
from millrace.tasks.lake.storage.atomic import (
    make_folder,
    remove_files,
    sweep_unfinished,
    translate_os_errors,
    write_bytes_atomically,
)
from millrace.tasks.lake.storage.lease import Lease, acquire_lease
from millrace.tasks.lake.storage.location import LakePath, local_folder, size_of
from millrace.tasks.lake.storage.object_path import ObjectPath
from millrace.tasks.lake.vectors.journal import has_journals, leftover_segments
from millrace.tasks.lake.vectors.part_file import PartDamaged, part_number, read_footer
from millrace.tasks.lake.vectors.schema import Layout
from millrace.tasks.records import EmbeddingSpace


@dataclass(frozen=True, slots=True)
class SpaceSummary:
    """What the vector store of `space` holds.

    `vectors` and `size_bytes` are of parts and journals; a text embedded twice counts twice. `damaged` counts the parts
    that do not open.
    """

    space: EmbeddingSpace
    vectors: int
    size_bytes: int
    parts: int
    damaged: int


class SpaceFolder:
    """Where the vectors of `space` are: `folder` below `root`, and `local` for its journals and its index.

    With a `journal_dir` each lake gets a folder of its own in it: the journal of one is not to be recovered by another.
    Where the vectors are objects, the store says where on this machine that is.
    """

    def __init__(self, root: LakePath, space: EmbeddingSpace, journal_dir: Path | None) -> None:
        self.space = space
        self.folder: LakePath = root.absolute() / space.name
        if journal_dir is None or isinstance(root, ObjectPath):
            self.local = local_folder(root.absolute()) / space.name
        else:
            lake = sha256(str(root.resolve()).encode()).hexdigest()[:16]
            self.local = journal_dir.absolute() / lake / space.name

    @property
    def index_folder(self) -> Path:
        """Where the derived key index is."""
        return self.local / "index"

    def has_journals(self) -> bool:
        """Whether there are vectors that are in no part yet."""
        return has_journals(self.local)

    def check(self) -> None:
        """Raise LakeError when the folder is another space's; one that is not there is fine."""
        path = self.folder / "space.json"
        with translate_os_errors(path, "Reading"):
            if not path.exists():
                return
            data = path.read_bytes()
        try:
            found = _parsed(data)
        except ValueError as error:
            raise LakeError(f"{path} is damaged. Delete it; it is written again from the settings.") from error
        if found != self.space:
            raise LakeError(
                f"{path} describes the embedding space {asdict(found)}, and {asdict(self.space)} is wanted: the folder"
                " was renamed or edited. Give it its name back."
            )

    def prepare(self) -> Lease:
        """Make the folders, take the lease, and sweep up what a killed run left.

        Raises:
            LeaseHeld: Another living process writes to this store.
            LakeError: The folder cannot be written, or is another space's.
        """
        make_folder(self.folder)
        make_folder(self.local)
        self.check()
        # Among objects it is the lake's own lease that keeps other machines away; this one keeps the journals.
        guarded = self.local if isinstance(self.folder, ObjectPath) else self.folder
        lease = acquire_lease(guarded / "lease", f"The vector store {self.folder}")
        try:
            path = self.folder / "space.json"
            if not path.exists():
                write_bytes_atomically(_spelled(self.space), path)
            for folder in {self.folder, self.local}:
                sweep_unfinished(folder)
            remove_files(list(self.local.glob("index.sqlite*")))  # the key index of earlier versions, derived as well
        except LakeError:
            lease.release()
            raise
        return lease


def described_in(folder: LakePath) -> EmbeddingSpace | None:
    """The space that the folder says it is of; None when it says nothing, or nothing that can be read."""
    try:
        return _parsed((folder / "space.json").read_bytes())
    except (OSError, ValueError):
        return None


def _parsed(data: bytes) -> EmbeddingSpace:
    """The space that `data` describes. Raises ValueError."""
    try:
        space = EmbeddingSpace(**json.loads(data))
    except TypeError as error:
        raise ValueError("it has other fields") from error
    words = (space.endpoint, space.model, space.text_type, space.instruct)
    if not all(isinstance(word, str) for word in words) or type(space.dimensions) is not int:
        raise ValueError("its fields have other types")
    return space


def _spelled(space: EmbeddingSpace) -> bytes:
    """As `space.json` has it; what came later is left out where it is not used, and then any version reads it."""
    fields = {name: value for name, value in asdict(space).items() if name != "sparse" or value}
    return json.dumps(fields, ensure_ascii=False, indent=1).encode()


def summarize(folder: LakePath) -> SpaceSummary | None:
    """What the vector store in `folder` holds, by the footers of its parts; None when it is not one.

    Journals in a folder of their own (`journal_dir`) are not seen.
    """
    space = described_in(folder)
    if space is None:
        return None
    layout = Layout.of(space)
    vectors = size = parts = damaged = 0
    for segment, _ in leftover_segments(folder, layout) if isinstance(folder, Path) else ():
        vectors += segment.rows
        size += segment.size_bytes
    for path in folder.iterdir():
        if part_number(path.name) is None:
            continue
        try:
            vectors += read_footer(path, layout).rows
            size += size_of(path)
            parts += 1
        except PartDamaged:
            damaged += 1
        except FileNotFoundError:
            continue  # compacted by the writer since it was listed
    return SpaceSummary(space, vectors, size, parts, damaged)
