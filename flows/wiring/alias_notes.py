"""What to tell of a collection that searches do not use: an alias stands for another one."""

from millrace.configs.settings import Settings
from millrace.flows.wiring.milvus import open_aliases, redacted_uri
from millrace.tasks.lake import Lake


def alias_key(uri: str, alias: str) -> str:
    """What the lake calls an alias of the Milvus at `uri`, which is without credentials, by."""
    return f"{uri} {alias}"


def known_aliases(settings: Settings, lake: Lake) -> dict[str, str]:
    """The aliases that this lake has moved at the Milvus of the settings, each with what it stands for since then."""
    before = alias_key(redacted_uri(settings), "")
    return {key.removeprefix(before): name for key, name in lake.switches.now().items() if key.startswith(before)}


def alias_notes(settings: Settings, lake: Lake) -> list[str]:
    """One sentence for each alias that stands for another collection than that of the settings, which is filled.

    Asked for are `milvus.alias`, and each that the lake knows to have stood for the collection.
    """
    name, uri = settings.milvus.collection, redacted_uri(settings)
    before = alias_key(uri, "")
    left = {key.removeprefix(before) for key in lake.switches.moved_from(name) if key.startswith(before)}
    asked = sorted({settings.milvus.alias, *left} - {"", name})
    if not asked:
        return []
    with open_aliases(settings) as aliases:
        targets = {alias: aliases.target(alias) for alias in asked}
    return [
        f"searches of {alias} use {target} {'now, and not' if alias in left else 'and not yet'} {name}, which this run "
        f"fills: set milvus.collection to {target} to keep that up to date, or let `millrace switch` move {alias}"
        for alias, target in targets.items()
        if target not in {"", name}
    ]
