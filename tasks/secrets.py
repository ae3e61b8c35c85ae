"""The values of secrets, masked in every text that leaves the process: messages, logs, lake files, pages.

Whoever reads a secret (a key, a token, the password in an address) does it with `read_secret`, or calls `remember`;
whoever keeps or shows words that come from outside calls `mask`, as every error does by itself. Providers echo the key
that they refuse, in whatever form they received or encoded it.
"""

import base64
import html
import json
import re
import threading
from collections.abc import Mapping
from urllib.parse import quote, quote_plus

MASK = "***"
MIN_LENGTH = 6
"""A shorter value is no secret ("EMPTY", "none"), and masking it would take ordinary words out of messages."""

PUBLISHED = frozenset({"Milvus", "minioadmin"})
"""Passwords that products come with: everybody knows them, and they are words of our messages too."""

_LOOKS_LIKE_A_KEY = re.compile(
    r"""(?P<before>\bBearer\s+)[A-Za-z0-9_\-.~+/=]{4,}            # what is sent to a server
    |   (?P<prefix>\bsk-)(?=[\w\-]*\d)[A-Za-z0-9_\-]{8,}         # OpenAI, DashScope
    |   \b(?:AKIA|ASIA|LTAI)[A-Za-z0-9]{12,}                     # Amazon, Alibaba Cloud
    |   \bgh[pousr]_[A-Za-z0-9]{20,} | \bpnu_[A-Za-z0-9]{20,}    # GitHub, Prefect Cloud
    |   \beyJ[\w\-]{10,}\.[\w\-]{10,}\.[\w\-]*                   # a JSON web token
    """,
    re.VERBOSE,
)
_PASSWORD_IN_ADDRESS = re.compile(r"(?<=://)[^/\s@'\"]+@")
_SECRET_IN_QUERY = re.compile(r"(?i)(?<=[?&])((?:api[_-]?key|key|token|secret|password|sig(?:nature)?)=)[^&\s'\"]+")
_ESCAPES = ((r"\u", 4), (r"\x", 2))


class _Secrets:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: set[str] = set()
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def remember(self, value: str) -> None:
        """Mask `value` from now on, in each of its forms. Values shorter than `MIN_LENGTH` are ignored."""
        secret = value.strip()
        with self._lock:
            if len(secret) < MIN_LENGTH or secret in self._values or secret in PUBLISHED:
                return
            self._values.add(secret)
            self._forms |= _forms_of(secret)
            # The longest form first, so that of two secrets that begin alike nothing is left over.
            longest_first = sorted(self._forms, key=len, reverse=True)
            # Each level of quoting doubles a backslash.
            patterns = (re.escape(form).replace(r"\\", r"\\+") for form in longest_first)
            self._pattern = re.compile("|".join(patterns), re.IGNORECASE)

    def mask(self, text: str) -> str:
        """`text` with `***` for each remembered secret, in any of its forms, and for whatever looks like one.

        That is a key of a known kind, a password in an address, or a key in its query.

        >>> mask("Incorrect API key provided: sk-0123456789abcdef, see https://u:pass@host/v1?token=12")
        'Incorrect API key provided: sk-***, see https://***@host/v1?token=***'
        """
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        text = _LOOKS_LIKE_A_KEY.sub(lambda found: (found["before"] or found["prefix"] or "") + MASK, text)
        text = _PASSWORD_IN_ADDRESS.sub(f"{MASK}@", text)
        return _SECRET_IN_QUERY.sub(rf"\1{MASK}", text)


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


def read_secret(environment: Mapping[str, str], variable: str) -> str:
    """The value of an environment variable that holds a secret, "" where it is not set; it is masked from now on.

    Of "user:password" the password is masked alone as well.
    """
    value = environment.get(variable, "").strip()
    user, _, password = value.partition(":")
    remember(value)
    remember(password if user else "")
    return value


def looks_like_secret(text: str) -> bool:
    """Whether `text`, given where a name belongs, is more likely a key or holds a password.

    >>> looks_like_secret("MILVUS_TOKEN"), looks_like_secret("9f86d081884c7d659a2feaa0c55ad015")
    (False, True)
    """
    return mask(text) != text or any(
        len(word) >= 20 and re.search(r"\d", word) and re.search(r"[A-Za-z]", word)
        for word in re.split(r"[^A-Za-z0-9]", text)
    )
