"""Control characters in text from outside, shown in place of being obeyed by the terminal that it is printed on."""

_CONTROLS = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) != "\t"},  # U+241B is the picture of ESC
    0x7F: 0x2421,
    **dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD),
}


def harmless(text: str) -> str:
    r"""`text` with each control character, which a terminal could obey, as one that is seen; as long as before.

    Tabs stay; so do marks that Arabic and Hebrew need, but not those that turn round what follows.

    >>> harmless("a\x1b[31m b")
    'a␛[31m b'
    """
    return text.translate(_CONTROLS)
