"""Whether queries embedded in one space can be compared with rows embedded in others, and should be. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from millrace.tasks.records import EmbeddingSpace


@dataclass(frozen=True, slots=True)
class Compatibility:
    """What stands between the query side and the index.

    `refusal`, a sentence, says why no score would mean anything, "" where scores do; `warnings` what is unwise, or
    cannot be known.
    """

    refusal: str = ""
    warnings: tuple[str, ...] = ()


def check_compatibility(query: EmbeddingSpace, index: Mapping[str, tuple[EmbeddingSpace | None, int]]) -> Compatibility:
    """How queries in the space `query` go together with an index.

    `index`: by the name of each space that documents are in, the space (None where the lake cannot describe it) and the
    number of its documents.
    """
    known = {name: space for name, (space, _) in index.items() if space is not None}
    incomparable = {name: why for name, space in known.items() if (why := _incomparable(query, space))}
    undescribed = sorted(name for name, (space, _) in index.items() if space is None and name != query.name)
    documents = sum(count for _, count in index.values())
    if index and len(incomparable) == len(index):
        return Compatibility(
            refusal=f"{'; and '.join(incomparable[name] for name in sorted(incomparable))}: scores would mean nothing. "
            "Set [embedding] as it was when the documents were ingested"
        )
    warnings = [
        f"{index[name][1]:,} of {documents:,} documents do not fit the query: {incomparable[name]}; their scores mean "
        "nothing. `millrace ingest` brings them up to date"
        for name in sorted(incomparable)
    ]
    warnings += [
        f"{index[name][1]:,} of {documents:,} documents are in the embedding space {name}, which the lake does not "
        f"describe; the query is in {query.name}. If the models differ, scores mean nothing"
        for name in undescribed
    ]
    for name in sorted(known.keys() - incomparable.keys()):
        warnings += _unwise(query, known[name])
    return Compatibility(warnings=tuple(dict.fromkeys(warnings)))


def _incomparable(query: EmbeddingSpace, index: EmbeddingSpace) -> str:
    """Why vectors of the two cannot be compared; "" where they can."""
    if (query.model, query.dimensions) == (index.model, index.dimensions):
        return ""
    return f"the index was made with {_described(index)}, and the query is embedded with {_described(query)}"


def _described(space: EmbeddingSpace) -> str:
    more = f", text_type {space.text_type}" if space.text_type else ""
    return f"{space.model}, {space.dimensions} dimensions{more}"


def _host(endpoint: str) -> str:
    """The host of an endpoint's URL, of which the APIs of one provider are several; a provider's name itself."""
    return urlsplit(endpoint).netloc or endpoint


def _unwise(query: EmbeddingSpace, index: EmbeddingSpace) -> list[str]:
    """What is not as it should be between two spaces whose vectors can be compared."""
    warnings = []
    if _host(query.endpoint) != _host(index.endpoint):
        warnings.append(
            f"the index was made at {index.endpoint}, and the query is embedded at {query.endpoint}: both call their "
            f"model {query.model}, and scores mean something only if it is the same one"
        )
    if index.text_type == "query":
        warnings.append(
            "the documents of the index were embedded as queries (text_type query): ingest them with "
            "embedding.text_type = document for better answers"
        )
    elif query.text_type == "document":
        warnings.append(
            "the query is embedded as a document (search.text_type = document): passages that look like the question "
            "come before those that answer it; set search.text_type = query"
        )
    elif index.text_type and not query.text_type:
        warnings.append(
            f"the index was made through the native API with text_type {index.text_type}, and the query goes through "
            "the compatible one, which embeds it as a document; set embedding.api = native"
        )
    if index.instruct and query.instruct != index.instruct:
        warnings.append(f"the index itself was made with an instruction ({index.instruct!r}), and the query was not")
    return warnings
