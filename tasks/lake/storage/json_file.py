"""Small JSON files of the lake: replaced at one stroke, each with a checksum of its own content.

The checksum is one more key of the object, so that any JSON reader still reads the file. Files of earlier versions have
none, and are taken as they are.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any

from millrace.tasks.errors import LakeError
from millrace.tasks.lake.storage.atomic import translate_read_errors, write_bytes_atomically
from millrace.tasks.lake.storage.location import LakePath

_CHECKSUM = "crc32"


def write_json(path: LakePath, content: Mapping[str, object], *, indent: int | None = 1) -> None:
    """Replace the file at `path` by `content` and its checksum, durably. Raises LakeError when the disk refuses."""
    plain = json.loads(json.dumps(content, default=dict))
    separators = None if indent else (",", ":")
    signed = plain | {_CHECKSUM: _checksum(plain)}
    write_bytes_atomically(json.dumps(signed, ensure_ascii=False, indent=indent, separators=separators).encode(), path)


def read_json(path: LakePath) -> dict[str, Any]:
    """The content of the file at `path`.

    Raises:
        FileNotFoundError: There is no such file.
        LakeUnreachable: This process may not read it, or the storage does not answer.
        LakeError: It is damaged.
    """
    with translate_read_errors(path, lambda reason: LakeError(f"{path} is damaged ({reason}).")):
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
        checksum = content.pop(_CHECKSUM, None)
        if checksum is not None and checksum != _checksum(content):
            raise ValueError("its content does not match its checksum")
    return content


def _checksum(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
