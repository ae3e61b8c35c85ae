"""Archives for tests, as their bytes."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping

Pack = Callable[[Mapping[str, bytes]], bytes]


def zipped(entries: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return packed.getvalue()


def tarred(entries: Mapping[str, bytes], **attributes: object) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for attribute, value in attributes.items():
                setattr(info, attribute, value)
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def tar_gz(entries: Mapping[str, bytes]) -> bytes:
    return gzip.compress(tarred(entries))
