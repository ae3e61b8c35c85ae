"""The folder of one embedding space: what it is called, what it says of itself, and where its journals are."""

import json
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from tasks.errors import LakeError
from tasks.lake.lease import Lease, hold
from tasks.lake.writing import disk_errors, make_folder, sweep_unfinished, write_bytes_atomically
from tasks.records import EmbeddingSpace


class SpaceFolder:
    """Where the vectors of `space` are: `folder` below `root`, and `local` for its journals and its index.

    With a `journal_dir` each lake gets a folder of its own in it: the journal of one is not to be recovered by another.
    """

    def __init__(self, root: Path, space: EmbeddingSpace, journal_dir: Path | None) -> None:
        self.space = space
        self.folder = root.absolute() / space.name
        self.local = self.folder
        if journal_dir is not None:
            lake = sha256(str(root.resolve()).encode()).hexdigest()[:16]
            self.local = journal_dir.absolute() / lake / space.name

    @property
    def index_path(self) -> Path:
        """The derived key index."""
        return self.local / "index.sqlite"

    def check(self) -> None:
        """Raise LakeError when the folder is another space's; one that is not there is fine."""
        path = self.folder / "space.json"
        with disk_errors(path, "Reading"):
            if not path.exists():
                return
            data = path.read_bytes()
        try:
            found = json.loads(data)
        except ValueError as error:
            raise LakeError(f"{path} is damaged. Delete it; it is written again from the settings.") from error
        if found != asdict(self.space):
            raise LakeError(
                f"{path} describes the embedding space {found}, and {asdict(self.space)} is wanted: the folder was"
                " renamed or edited. Give it its name back."
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
        lease = hold(self.folder / "lease", f"The vector store {self.folder}")
        try:
            path = self.folder / "space.json"
            if not path.exists():
                data = json.dumps(asdict(self.space), ensure_ascii=False, indent=1).encode()
                write_bytes_atomically(data, path)
            sweep_unfinished(self.folder)
        except LakeError:
            lease.release()
            raise
        return lease
