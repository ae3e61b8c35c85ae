"""The providers, their regions and their hosts, read from `configs/models.toml`."""

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from tasks.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Region:
    """A region of a provider; its hosts are patterns."""

    name: str
    hosts: tuple[str, ...]

    @property
    def host(self) -> str:
        """The host that needs no workspace, "" if there is none."""
        return next((host for host in self.hosts if "*" not in host), "")


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider; on its hosts the compatible API is at `path`. One without regions has no host of its own."""

    name: str
    path: str
    regions: tuple[Region, ...]

    def region_of(self, url: str) -> Region | None:
        """The region at whose hosts `url` is, None for "" and for any other host."""
        host = _host(url)
        return next((r for r in self.regions if any(fnmatchcase(host, pattern) for pattern in r.hosts)), None)

    def region_named(self, name: str) -> Region | None:
        """The region called `name`, the first one for ""; None for a provider without regions.

        Raises ConfigurationError for an unknown one.
        """
        names = [region.name for region in self.regions]
        if not name:
            return self.regions[0] if names else None
        if names and name not in names:
            message = unknown(f"embedding.region of provider {self.name}", name, names, always_list=True)
            raise ConfigurationError(message)
        if not names:
            message = f"embedding.region is {name!r}, but provider {self.name} has no regions; leave it empty"
            raise ConfigurationError(message)
        return self.regions[names.index(name)]

    def url_in(self, region: Region | None, base_url: str = "") -> str:
        """The OpenAI-compatible endpoint on the official host of `base_url`, or of `region`; "" where there is none."""
        if self.region_of(base_url) is not None:
            return f"https://{_host(base_url)}{self.path}"
        return f"https://{region.host}{self.path}" if region is not None and region.host else ""


def find_provider(name: str) -> Provider:
    """The provider called `name`. Raises ConfigurationError for an unknown one, naming the nearest."""
    providers = all_providers()
    if name not in providers:
        raise ConfigurationError(unknown("embedding.provider", name, sorted(providers)))
    return providers[name]


@cache
def all_providers() -> dict[str, Provider]:
    """Every provider by its name."""
    return {
        p["name"]: Provider(
            p["name"], p.get("path", ""), tuple(Region(r["name"], tuple(r["hosts"])) for r in p.get("region", ()))
        )
        for p in models_toml()["provider"]
    }


@cache
def models_toml() -> dict[str, Any]:
    """What `configs/models.toml` holds."""
    # Read as a resource, not imported: rooms do not import `configs`, and in a wheel it may not be a folder.
    return tomllib.loads(files("configs").joinpath("models.toml").read_text(encoding="utf-8"))


def unknown(setting: str, given: str, names: list[str], *, always_list: bool = False) -> str:
    """What to tell of a name that is not known: the nearest of `names`, or all of them."""
    near = get_close_matches(given, names, n=1, cutoff=0.5)
    hints = [f"did you mean {near[0]!r}?"] if near else []
    if always_list or not near:
        hints.append("known: " + ", ".join(names))
    return f"{setting} is {given!r}, which is not known; {' '.join(hints)}"


def _host(base_url: str) -> str:
    return (urlsplit(base_url).hostname or "") if base_url else ""
