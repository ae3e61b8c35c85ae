"""Layers of a PDF file (optional content) that are switched off when it is opened, so that nobody sees them."""

from typing import Any

import pypdf
from pypdf.generic import ArrayObject, IndirectObject

from millrace.tasks.documents.pdf.pypdf_fonts import dictionary


class HiddenLayers:
    """The layers that are off by the file's default configuration. Source: ISO 32000-1, 8.11."""

    def __init__(self, reader: pypdf.PdfReader) -> None:
        properties = dictionary(reader.root_object.get("/OCProperties"))
        default = dictionary(properties.get("/D"))
        self._off = _numbers(default.get("/OFF"))
        if default.get("/BaseState") == "/OFF":
            self._off |= _numbers(properties.get("/OCGs")) - _numbers(default.get("/ON"))

    @property
    def any_are_off(self) -> bool:
        """Whether there is a layer that is off."""
        return bool(self._off)

    def is_hidden(self, layer: Any) -> bool:
        """Whether content is hidden that belongs to a layer, or to a group of layers with a rule (OCMD)."""
        if not self._off:
            return False
        if isinstance(layer, IndirectObject) and layer.idnum in self._off:
            return True
        group = dictionary(layer)
        if group.get("/Type") != "/OCMD" or "/OCGs" not in group:
            return False
        layers = dict.get(group, "/OCGs")
        members = _numbers(layers) or _numbers([layers])
        off = members & self._off
        is_hidden = {"/AllOn": bool(off), "/AnyOff": not off, "/AllOff": off != members}
        return is_hidden.get(str(group.get("/P")), bool(members) and off == members)


def _numbers(layers: Any) -> set[int]:
    """The object numbers of a list of layers."""
    found = layers.get_object() if isinstance(layers, IndirectObject) else layers
    listed = found if isinstance(found, list | ArrayObject) else ()
    return {each.idnum for each in listed if isinstance(each, IndirectObject)}
