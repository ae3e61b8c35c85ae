"""What the collection looks like, and how an existing one differs from it. Pure: no connection, no pymilvus.

How Milvus cuts content into words for BM25: analyzers in the one spelling that Milvus Lite and a server both know.

Seen with Milvus Lite 3.2 and with the engine of Milvus 2.5 (Milvus Lite 2.5.1 carries it):

- standard: both cut at everything that is neither letter nor digit, and lower the case. Chinese has no spaces, so a run
  of Chinese between two marks is one word, together with the letters and digits that touch it.
- english: a server also takes off endings. Milvus Lite does not; it passes over the filters that it does not know.
- chinese: words from jieba's dictionary; letters and digits are parted from Chinese. The built-in "chinese" of a server
  keeps upper and lower case apart, Milvus Lite knows no such name, and its jieba is a package of its own.

How thoroughly an index is searched: rules that hold for any number of rows asked for, unless the shape says more.
"""

import importlib
import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, TypeAlias

from millrace.tasks.errors import ConfigurationError
from millrace.tasks.milvus.scalar_fields import ScalarField
from millrace.tasks.records import JsonValue

Analyzer = Literal["standard", "english", "chinese"]
AnalyzerChoice = Literal["auto", "standard", "english", "chinese"]

_ENGLISH_STOP_WORDS = (
    *("a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not"),
    *("of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was"),
    *("will", "with"),
)
"""What Lucene leaves out of English by default. A server calls it `_english_`; Milvus Lite knows no such name."""

PARAMS: Mapping[str, dict[str, JsonValue]] = MappingProxyType(
    {
        "standard": {"type": "standard"},
        "english": {
            "tokenizer": "standard",
            "filter": [
                "lowercase",
                {"type": "stemmer", "language": "english"},
                {"type": "stop", "stop_words": [*_ENGLISH_STOP_WORDS]},
            ],
        },
        "chinese": {"tokenizer": "jieba", "filter": ["lowercase", "cnalphanumonly"]},
    }
)


def analyzer_name(params: str) -> str:
    """The name of the analyzer with these parameters (JSON), or the parameters themselves if it is not ours."""
    try:
        described = json.loads(params)
    except json.JSONDecodeError:
        return params
    return next((name for name, ours in PARAMS.items() if ours == described), params)


def check_analyzer(analyzer: str, *, is_lite: bool) -> None:
    """Nothing, if the analyzer can be had here.

    Raises:
        ConfigurationError: it needs a package that is not installed.
    """
    if analyzer != "chinese" or not is_lite:
        return
    try:
        importlib.import_module("jieba")
    except ImportError as error:
        message = (
            "milvus.analyzer = chinese: Milvus Lite cuts Chinese into words with the package jieba, which is not "
            'installed; `pip install "millrace[jieba]"`, or use a Milvus server, which has its own (with '
            "milvus.analyzer = standard hardly any word of Chinese is found)"
        )
        raise ConfigurationError(message) from error
    # Only now: importing it sets its level, and gives it a handler on standard error, for word of its dictionary.
    logging.getLogger("jieba").setLevel(logging.WARNING)


CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7a3]")
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_CHINESE_SHARE = 0.1
"""Of letters and digits: with fewer Han characters a corpus is one that quotes Chinese here and there."""


def analyzer_for(texts: Iterable[str]) -> Analyzer:
    """The analyzer that finds the words of these texts: "chinese" where a tenth of their letters is, else "standard".

    >>> analyzer_for(["水斗板的含水率", "Sluice gates"]), analyzer_for([])
    ('chinese', 'standard')
    >>> analyzer_for(["The sluice gates of the mill are called 闸门"])
    'standard'
    """
    han = letters = 0
    for text in texts:
        han += len(_HAN.findall(text))
        letters += sum(map(str.isalnum, text))
    return "chinese" if han > _CHINESE_SHARE * letters else "standard"


def why_words_are_not_found(analyzer: str, text: str) -> str:
    """Why a word search finds hardly anything of `text` in a collection with this analyzer; "" where it does."""
    if analyzer == "chinese" or not CJK.search(text):
        return ""
    return (
        f"the collection was made with milvus.analyzer = {analyzer}, which takes a whole run of Chinese, Japanese or "
        "Korean for one word, so hardly any is found by its words"
    )


IndexParam: TypeAlias = tuple[str, "int | float | str | bool"]
Metric = Literal["COSINE", "IP", "L2"]
Hybrid = Literal["none", "sparse", "bm25"]
Index = Literal["HNSW", "IVF_FLAT", "DISKANN", "AUTOINDEX", "FLAT"]

ID_FIELD = "id"
CONTENT_FIELD = "content"
VECTOR_FIELD = "embedding"
METADATA_FIELD = "metadata"
SPARSE_FIELD = "sparse"

ID_MAX_BYTES = 64

SPARSE_INDEX = "SPARSE_INVERTED_INDEX"
SCALAR_INDEX = "INVERTED"
NAME_MAX_CHARACTERS = 255
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class CollectionShape:
    """The collection's fields and indexes.

    `dimensions` is the length of `embedding`; `content_max_bytes` the length of `content` in UTF-8 bytes;
    `index_params` are the index's own, and `search_params` those of searching it that do not follow from how many rows
    are asked for; as pairs, so that a shape can be hashed. `hybrid` adds the field `sparse`: with "sparse" the rows
    bring it, with "bm25" Milvus makes it from the words of `content`, as `analyzer` cuts them; "auto" is whichever an
    existing collection has, and chosen by the texts for a new one. `partition_key` names the one of `scalar_fields`
    that parts the rows, "" for none. Milvus Lite compares every vector (FLAT) until a writer that is done has brought
    it to `lite_flat_rows` rows, and has `index` from then on.
    """

    dimensions: int = 1024
    content_max_bytes: int = 8192
    metric: Metric = "COSINE"
    index: Index = "HNSW"
    index_params: tuple[IndexParam, ...] = (("M", 16), ("efConstruction", 256))
    search_params: tuple[IndexParam, ...] = ()
    hybrid: Hybrid = "none"
    analyzer: AnalyzerChoice = "standard"
    scalar_fields: tuple[ScalarField, ...] = ()
    partition_key: str = ""
    lite_flat_rows: int = 20_000


@dataclass(frozen=True, slots=True)
class FieldShape:
    """One field as Milvus describes it.

    `kind` names its data type; `size` is its dimension or `max_length`, if any; `analyzer` is what cuts it into words,
    "" if nothing does; `made` says that Milvus fills it from other fields, `parts` that it is the partition key.
    """

    name: str
    kind: str
    size: int | None = None
    primary: bool = False
    auto_id: bool = False
    optional: bool = False
    analyzer: str = ""
    made: bool = False
    parts: bool = False

    def __str__(self) -> str:
        size = "" if self.size is None else f"({self.size})"
        traits = {
            " primary key": self.primary,
            " with automatic ids": self.auto_id,
            f" with the analyzer {self.analyzer}": bool(self.analyzer),
            " made by Milvus": self.made,
            " partition key": self.parts,
        }
        return f"{self.kind}{size}" + "".join(words for words, applies in traits.items() if applies)


@dataclass(frozen=True, slots=True)
class IndexShape:
    """The index of one field; of an existing one, `params` are those that Milvus describes."""

    field: str
    kind: str
    metric: str = ""
    params: tuple[IndexParam, ...] = ()


def wanted_fields(shape: CollectionShape) -> tuple[FieldShape, ...]:
    """The fields of a collection of this shape, in schema order: the four, that of hybrid search, promoted ones."""
    bm25 = shape.hybrid == "bm25"
    fields = [
        FieldShape(ID_FIELD, "VARCHAR", ID_MAX_BYTES, primary=True),
        FieldShape(CONTENT_FIELD, "VARCHAR", shape.content_max_bytes, analyzer=shape.analyzer if bm25 else ""),
        FieldShape(VECTOR_FIELD, "FLOAT_VECTOR", shape.dimensions),
        FieldShape(METADATA_FIELD, "JSON"),
    ]
    if shape.hybrid != "none":
        fields.append(FieldShape(SPARSE_FIELD, "SPARSE_FLOAT_VECTOR", made=bm25))
    for scalar in shape.scalar_fields:
        # A server refuses a partition key that may be null.
        parts = scalar.name == shape.partition_key
        fields.append(FieldShape(scalar.name, scalar.kind, scalar.size, optional=not parts, parts=parts))
    return tuple(fields)


def wanted_indexes(shape: CollectionShape) -> tuple[IndexShape, ...]:
    """The indexes of a collection of this shape, that of `embedding` first."""
    indexes = [IndexShape(VECTOR_FIELD, shape.index, shape.metric, shape.index_params)]
    if shape.hybrid != "none":
        indexes.append(IndexShape(SPARSE_FIELD, SPARSE_INDEX, "BM25" if shape.hybrid == "bm25" else "IP"))
    return *indexes, *(IndexShape(scalar.name, SCALAR_INDEX) for scalar in shape.scalar_fields)


def first_indexes(shape: CollectionShape, *, is_lite: bool) -> tuple[IndexShape, ...]:
    """The indexes that a collection of this shape begins with, that of `embedding` first.

    On Milvus Lite that one costs nothing to make, and is replaced once there are rows enough for another to pay.
    """
    of_vectors, *others = wanted_indexes(shape)
    flat = is_lite and shape.lite_flat_rows > 0
    return (_flat(of_vectors) if flat else of_vectors), *others


def _flat(index: IndexShape) -> IndexShape:
    return replace(index, kind="FLAT", params=())


def differences(
    shape: CollectionShape,
    fields: tuple[FieldShape, ...],
    indexes: Mapping[str, IndexShape],
    *,
    is_lite: bool = False,
) -> list[str]:
    """What stands between an existing collection and `shape`, one line a field or index; empty when it fits.

    A further field counts only if rows must fill it, and an analyzer only if BM25 needs it: without either, a search by
    the dense vectors alone works there too. `indexes`, by field, may lack some: they are then still to be made. Those
    of promoted fields are not compared, for an older server chooses them by itself. With `is_lite`, FLAT fits whatever
    index is wanted.
    """
    found: Mapping[str, FieldShape] = {field.name: field for field in fields}
    lines = []
    for wanted in wanted_fields(shape):
        came = found.get(wanted.name)
        if came is None:
            lines.append(f"{wanted.name}: expected {wanted}, there is no such field")
            continue
        described = came if wanted.analyzer or shape.hybrid == "bm25" else replace(came, analyzer="")
        if wanted.analyzer == "auto" and came.analyzer:
            described = replace(came, analyzer="auto")
        if str(described) != str(wanted):
            lines.append(f"{wanted.name}: expected {wanted}, found {came}")
    ours = {wanted.name for wanted in wanted_fields(shape)}
    lines += [
        f"{field.name}: found {field}, which every row would have to fill"
        for field in fields
        if field.name not in ours and not field.optional and not field.made
    ]
    for index in wanted_indexes(shape):
        found_index = indexes.get(index.field)
        if index.metric and found_index:
            fits_flat = is_lite and index.field == VECTOR_FIELD and found_index.kind == "FLAT"
            lines += _index_differences(_flat(index) if fits_flat else index, found_index)
    return lines


def _index_differences(wanted: IndexShape, found: IndexShape) -> list[str]:
    of = "" if wanted.field == VECTOR_FIELD else f" of {wanted.field}"
    lines = []
    if found.metric.upper() != wanted.metric:
        lines.append(f"metric{of}: expected {wanted.metric}, found {found.metric or 'none'}")
    if found.kind.upper() != wanted.kind:
        return [*lines, f"index{of}: expected {wanted.kind}, found {found.kind}"]
    described = dict(found.params)
    return lines + [
        f"index{of}: expected {name} = {value}, found {described[name]}"
        for name, value in wanted.params
        if name in described and str(described[name]) != str(value)
    ]


def check_name(name: str) -> None:
    """Nothing, if Milvus takes `name` for a collection.

    Raises:
        ConfigurationError: the name would be refused by a server; Milvus Lite would take it and the move to a server
            would then fail.
    """
    if not _NAME.fullmatch(name) or len(name) > NAME_MAX_CHARACTERS:
        message = (
            f"milvus.collection: {name!r} is no name for a Milvus collection; it must begin with a letter or an "
            f"underscore, hold only letters, digits and underscores, and have at most {NAME_MAX_CHARACTERS} characters"
        )
        raise ConfigurationError(message)


_LEAST_EF = 512
"""Of 200 sentences asked of 7,071 chunks of Markdown (`millrace eval`; Milvus Lite, M 16, efConstruction 256, provider
`local`), the graph kept the right row from the first 20 for 5 with ef 64, for 1 with 256, for none with 512."""

LITE_INDEXES = frozenset(["HNSW", "IVF_FLAT", "FLAT", "AUTOINDEX"])


def search_tuning(shape: CollectionShape, rows: int) -> Mapping[str, int]:
    """The parameters of a search for the best `rows`; none where the index has none.

    What the shape sets is raised where Milvus would refuse it: a graph has to look at no fewer rows than are asked for.

    >>> search_tuning(CollectionShape(), 20), search_tuning(CollectionShape(search_params=(("ef", 10),)), 20)
    ({'ef': 512}, {'ef': 20})
    """
    given = {name: int(value) for name, value in shape.search_params}
    if shape.index == "HNSW":
        return {"ef": max(given["ef"], rows) if "ef" in given else max(_LEAST_EF, 2 * rows)}
    if shape.index == "DISKANN":
        name = "search_list"
        return {name: max(given[name], rows) if name in given else max(100, 2 * rows)}
    if shape.index == "IVF_FLAT":
        nlist = int(dict(shape.index_params).get("nlist", 128))
        return {"nprobe": min(given.get("nprobe", max(8, nlist // 16)), nlist)}
    return {}
