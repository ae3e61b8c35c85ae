"""How Milvus cuts content into words for BM25: analyzers in the one spelling that Milvus Lite and a server both know.

Seen with Milvus Lite 3.2 and with the engine of Milvus 2.5 (Milvus Lite 2.5.1 carries it):

- standard: both cut at everything that is neither letter nor digit, and lower the case. Chinese has no spaces, so a run
  of Chinese between two marks is one word, together with the letters and digits that touch it.
- english: a server also takes off endings. Milvus Lite does not; it passes over the filters that it does not know.
- chinese: words from jieba's dictionary; letters and digits are parted from Chinese. The built-in "chinese" of a server
  keeps upper and lower case apart, Milvus Lite knows no such name, and its jieba is a package of its own.
"""

import importlib
import json
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from tasks.errors import ConfigurationError
from tasks.records import JsonValue

Analyzer = Literal["standard", "english", "chinese"]

_ENGLISH_STOP_WORDS = (
    *("a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not"),
    *("of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was"),
    *("will", "with"),
)
"""What Lucene leaves out of English by default. A server calls it `_english_`; Milvus Lite knows no such name."""

PARAMS: Mapping[Analyzer, dict[str, JsonValue]] = MappingProxyType(
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
    """The name of the analyzer whose parameters a collection tells as JSON, or those parameters if it is not ours."""
    try:
        told = json.loads(params)
    except json.JSONDecodeError:
        return params
    return next((name for name, ours in PARAMS.items() if ours == told), params)


def check_analyzer(analyzer: Analyzer, *, is_lite: bool) -> None:
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
            'installed; `pip install "millrace[jieba]"`, or use a Milvus server, which has its own'
        )
        raise ConfigurationError(message) from error
    # Only now: importing it sets its level, and gives it a handler on standard error, where it tells of its dictionary.
    logging.getLogger("jieba").setLevel(logging.WARNING)
