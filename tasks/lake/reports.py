"""The page of each run, for people: one HTML file a run, made from its record and timeline. Derived; may be deleted."""

from tasks.lake.places import Place
from tasks.lake.writing import make_folder, write_bytes_atomically

FOLDER = "reports"


class Reports:
    """The pages of the collection whose folder is `collection_dir`, in `reports/`."""

    def __init__(self, collection_dir: Place) -> None:
        self._folder = collection_dir / FOLDER

    def save(self, run: str, page: str) -> Place:
        """Write the page in place of its earlier version; where it is. Raises LakeError when the disk refuses."""
        make_folder(self._folder)
        path = self._folder / f"{run}.html"
        write_bytes_atomically(page.encode(), path)
        return path
