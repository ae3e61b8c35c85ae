"""The values of secrets, masked in every text that leaves the process: messages, logs, lake files, pages.

Whoever reads a secret (a key, a token, the password in an address) calls `remember`; whoever keeps or shows words that
come from outside calls `mask`. Providers echo the key that they refuse, in whatever form they received or encoded it.
"""

import base64
import html
import json
import re
import threading
from urllib.parse import quote, quote_plus

MASK = "***"
MIN_LENGTH = 6
"""A shorter value is no secret ("EMPTY", "none"), and masking it would take ordinary words out of messages."""

_LOOKS_LIKE_A_KEY = re.compile(r"(\bsk-|\bBearer\s+)[A-Za-z0-9_\-]{4,}")
_ESCAPES = ((r"\u", 4), (r"\x", 2))


class _Secrets:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def remember(self, value: str) -> None:
        """Mask `value` from now on, in each of its forms. Values shorter than `MIN_LENGTH` are ignored."""
        secret = value.strip()
        with self._lock:
            if len(secret) < MIN_LENGTH or secret in self._forms:
                return
            self._forms |= _forms_of(secret)
            # The longest form first, so that of two secrets that begin alike nothing is left over.
            longest_first = sorted(self._forms, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)

    def mask(self, text: str) -> str:
        """`text` with `***` for each remembered secret, in any of its forms, and for whatever looks like an API key.

        >>> mask("Incorrect API key provided: sk-0123456789abcdef")
        'Incorrect API key provided: sk-***'
        """
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        return _LOOKS_LIKE_A_KEY.sub(rf"\1{MASK}", text)


def _forms_of(secret: str) -> set[str]:
    data = secret.encode(errors="surrogateescape")
    forms = {
        *(secret, secret[::-1], data.hex(), html.escape(secret), repr(secret)[1:-1]),
        *(quote(data, safe=""), quote(data), quote_plus(data), "".join(f"%{byte:02x}" for byte in data)),
        *(
            json.dumps(secret, ensure_ascii=False)[1:-1],
            json.dumps(secret)[1:-1],
            json.dumps(secret)[1:-1].replace("/", r"\/"),
        ),
        *("".join(f"{prefix}{ord(character):0{digits}x}" for character in secret) for prefix, digits in _ESCAPES),
    }
    for before in range(3):
        # Inside a longer text, such as `user:key`, base64 has one of three forms, without what it shares at both ends.
        start, end = (before * 4 + 2) // 3, (before + len(data)) * 4 // 3
        for encoded in (base64.b64encode(bytes(before) + data), base64.urlsafe_b64encode(bytes(before) + data)):
            forms.add(encoded.decode()[start:end])
    return {form for form in forms if len(form) >= MIN_LENGTH}


_secrets = _Secrets()
remember = _secrets.remember
mask = _secrets.mask
