"""Bytes to text, strictly: either every byte is understood, or the file is rejected."""

from millrace.tasks.documents.encoding.decode import decode, unmarked_utf16
from millrace.tasks.documents.encoding.detect import detect, telling_sample
from millrace.tasks.documents.encoding.names import editor_declared_encoding, known_codec, marked_codec, required_codec

__all__ = [
    "decode",
    "detect",
    "editor_declared_encoding",
    "known_codec",
    "marked_codec",
    "required_codec",
    "telling_sample",
    "unmarked_utf16",
]
