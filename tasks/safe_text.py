"""Text that leaves the process: secrets masked, and control characters shown in place of being obeyed.

Whoever reads a secret does it with `read_secret`, which remembers its value: errors, logs and results are masked by
that value, whatever shape it comes back in, and by what keys of known providers look like. No setting is known here.
"""

import base64
import json
import re
from collections.abc import Mapping
from urllib.parse import quote

_MASK = "***"
_SHORTEST = 8
"""Characters; what is shorter is a word that messages need, like the user `root`."""

_NO_SECRETS = frozenset({"Milvus", "minioadmin"})
"""Passwords that products come with, and that are words of our messages too."""

_secrets: set[str] = set()

_KEYS = re.compile(
    r"""(?P<before>\bBearer\s+|\bBasic\s+)[\w.~+/=\-]{8,}       # what is sent to a server
    |   \bsk-(?=[\w\-]*\d)[A-Za-z0-9_\-]{12,}                   # OpenAI, DashScope
    |   \b(?:AKIA|ASIA|LTAI)[A-Za-z0-9]{12,}                    # Amazon, Alibaba Cloud
    |   \bgh[pousr]_[A-Za-z0-9]{20,} | \bpnu_[A-Za-z0-9]{20,}   # GitHub, Prefect Cloud
    |   \beyJ[\w\-]{10,}\.[\w\-]{10,}\.[\w\-]*                  # a JSON web token
    """,
    re.VERBOSE,
)
_PASSWORD_IN_ADDRESS = re.compile(r"(?<=://)[^/\s@'\"]+@")
_SECRET_IN_QUERY = re.compile(r"(?i)(?<=[?&])((?:api[_-]?key|key|token|secret|password|sig(?:nature)?)=)[^&\s'\"]+")

_CONTROLS = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) != "\t"},  # U+241B is the picture of ESC
    0x7F: 0x2421,
    **dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD),
}


def read_secret(environment: Mapping[str, str], variable: str) -> str:
    """The value of an environment variable that holds a secret, "" where it is not set; it is masked from now on."""
    value = environment.get(variable, "").strip()
    remember_secret(value)
    return value


def remember_secret(value: str) -> None:
    """Mask `value` from now on, and of "user:password" the password; also as JSON, in addresses and in headers."""
    user, colon, password = value.partition(":")
    for secret in (value, *([password] if colon and user else [])):
        if len(secret) >= _SHORTEST and secret not in _NO_SECRETS:
            _secrets.update(
                {
                    secret,
                    quote(secret, safe=""),
                    json.dumps(secret)[1:-1],
                    json.dumps(secret, ensure_ascii=False)[1:-1],
                    base64.b64encode(secret.encode()).decode(),
                }
            )


def mask(text: str) -> str:
    """`text` without the secrets that were read, what looks like a provider's key, and passwords in addresses.

    >>> mask("Incorrect API key provided: sk-0123456789abcdef, see https://u:pass@host/v1?token=12")
    'Incorrect API key provided: ***, see https://***@host/v1?token=***'
    """
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, _MASK)
    text = _KEYS.sub(lambda found: (found["before"] or "") + _MASK, text)
    text = _PASSWORD_IN_ADDRESS.sub(f"{_MASK}@", text)
    return _SECRET_IN_QUERY.sub(rf"\1{_MASK}", text)


def looks_like_secret(text: str) -> bool:
    """Whether `text`, given where a name or an address belongs, is more likely a key or holds a password.

    >>> looks_like_secret("MILVUS_TOKEN"), looks_like_secret("9f86d081884c7d659a2feaa0c55ad015")
    (False, True)
    """
    if mask(text) != text:
        return True
    return any(
        len(word) >= 20 and re.search(r"\d", word) and re.search(r"[A-Za-z]", word)
        for word in re.split(r"[^A-Za-z0-9]", text)
    )


def harmless(text: str) -> str:
    r"""`text` with each control character, which a terminal could obey, as one that is seen; as long as before.

    Tabs stay; so do marks that Arabic and Hebrew need, but not those that turn round what follows.

    >>> harmless("a\x1b[31m b")
    'a␛[31m b'
    """
    return text.translate(_CONTROLS)
