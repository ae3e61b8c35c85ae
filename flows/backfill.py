"""Whether a rebuild is an import, and through which folder; what stands against it, in words."""

from pathlib import Path

from configs.settings import Settings
from tasks.backfill import ImportFolder
from tasks.milvus import is_lite


def why_not_import(settings: Settings, rows: int) -> str | None:
    """Why `rows` rows are not brought into a new collection by import: "" where they are.

    None where nobody would expect it: there are few rows, or nothing is set and this is Milvus Lite.
    """
    milvus = settings.milvus
    if rows < milvus.bulk_rows or (is_lite(milvus.uri) and not milvus.bulk_path):
        return None
    if is_lite(milvus.uri):
        return "Milvus Lite has no import"
    if not milvus.bulk_path:
        return "milvus.bulk_path names no folder that the server reads too"
    if not Path(milvus.bulk_path).is_dir():
        return f"there is no folder {milvus.bulk_path} (milvus.bulk_path)"
    if milvus.hybrid != "none" or milvus.scalar_fields:
        return "the fields of milvus.hybrid and milvus.scalar_fields are not imported"
    return ""


def import_folder(settings: Settings) -> ImportFolder:
    """A folder of this collection's own below `milvus.bulk_path`."""
    milvus = settings.milvus
    name = f"millrace-{milvus.collection}"
    here = Path(milvus.bulk_path).absolute()
    return ImportFolder(here / name, f"{milvus.bulk_server_path.rstrip('/') or here.as_posix()}/{name}")
