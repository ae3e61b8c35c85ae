from __future__ import annotations

import asyncio
import doctest
import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.tasks.embedding.models import find_model
from millrace.tasks.embedding.providers import local
from millrace.tasks.embedding.providers.factory import make_client
from millrace.tasks.embedding.providers.local import features, first_lexical_vectors, lexical_vectors, sparse_vectors
from millrace.tasks.errors import TextsRefused
from millrace.tasks.records import SPARSE_PAIR

PASSAGES = {
    "backups": "Every backup is verified once a week: a random file is restored and its checksum compared.",
    "limits": "The provider allows thirty requests a second; limits apply to the whole account.",
    "sluice": "Open the sluice gate one quarter and wait until the race has filled to the lower mark.",
    "greetings": "The museum is open from Tuesday to Sunday. Guided tours start at ten.",
    "bearing": "主轴承温度低于四十五度为正常，超过六十度应立即停机，检查润滑油。",
    "refund": "迪士尼乐园门票的退票政策：入园日前两天可以全额退款。",
    "clothes": "这件衣服的质量非常好，穿起来很舒服，价格也便宜。",
    "flood": "汛期来临之前要检查闸门，清理拦污栅，并记录上游水位。",
    "kana": "水車の軸受けは毎週点検し、油を差してください。",
}


@pytest.mark.parametrize(
    ("query", "passage"),
    [
        ("how often are backups verified", "backups"),
        ("request limit of an account", "limits"),
        ("opening the sluice gates", "sluice"),
        ("轴承温度太高怎么办", "bearing"),
        ("我想知道迪士尼的退票政策", "refund"),
        ("衣服质量", "clothes"),
        ("汛期闸门检查", "flood"),
        ("水車の点検", "kana"),
        ("museum Sunday 开放时间", "greetings"),
    ],
)
def test_a_query_finds_the_passage_that_shares_its_words(query: str, passage: str) -> None:
    vectors = lexical_vectors(list(PASSAGES.values()), 1024)
    (asked,) = lexical_vectors([query], 1024)
    assert list(PASSAGES)[int(np.argmax(vectors @ asked))] == passage


def test_a_passage_is_nearest_to_its_own_sentence() -> None:
    vectors = lexical_vectors(list(PASSAGES.values()), 1024)
    halves = lexical_vectors([passage[: len(passage) // 2] for passage in PASSAGES.values()], 1024)
    assert np.argmax(halves @ vectors.T, axis=1).tolist() == list(range(len(PASSAGES)))


def test_plural_and_case_and_width_do_not_matter_much() -> None:
    one, many, wide = lexical_vectors(["Rate LIMIT", "rate limits", "ｒａｔｅ ｌｉｍｉｔ"], 1024)
    assert float(one @ many) > 0.5
    assert np.array_equal(one, wide)


@settings(max_examples=200)
@given(st.text(min_size=1).filter(lambda text: text.strip()))
def test_every_text_that_is_not_blank_has_a_vector_of_length_one(text: str) -> None:
    (vector,) = lexical_vectors([text], 1024)
    assert vector.dtype == np.float32
    assert float(vector @ vector) == pytest.approx(1.0, abs=1e-5)


@settings(max_examples=50)
@given(st.text().filter(lambda text: text.strip()), st.text().filter(lambda text: text.strip()))
def test_both_models_find_two_texts_nearly_as_near(one: str, other: str) -> None:
    """They weigh the same features; only where those collide differs."""
    dimensions = 1 << 20
    vectors = [model([one, other], dimensions) for model in (first_lexical_vectors, lexical_vectors)]
    cosines = [float(first @ second) for first, second in vectors]
    assert cosines[0] == pytest.approx(cosines[1], abs=0.02)


@pytest.mark.parametrize("text", ["...", "—！？", "🙂🙂", "\u200b", "|---|---|"])
def test_punctuation_alone_has_a_vector_too(text: str) -> None:
    (vector,) = lexical_vectors([text], 1024)
    assert np.isclose(np.linalg.norm(vector), 1.0)


def test_features_that_cancel_each_other_do_not_leave_a_zero_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "features", lambda text: [])
    (vector,) = first_lexical_vectors(["anything"], 1024)
    assert np.linalg.norm(vector) == 1.0
    places = (np.array([5, 5]).tobytes(), np.array([1.0, -1.0]).tobytes())
    monkeypatch.setattr(local, "_places", lambda text: [places])
    (vector,) = lexical_vectors(["anything"], 1024)
    assert np.linalg.norm(vector) == 1.0


def test_a_text_has_the_same_vector_alone_and_among_others() -> None:
    texts = list(PASSAGES.values())
    together = lexical_vectors(texts, 1024)
    assert all(np.array_equal(together[row], lexical_vectors([text], 1024)[0]) for row, text in enumerate(texts))


GOLDEN = "The mill 水轮 turns twice, 轴承温度 45℃; naïve e-mails don't."
GOLDEN_DIGESTS = {"lexical-hashing-v1": "35134b7842fff3cd", "lexical-hashing-v2": "f6ddb637c3100653"}
"""If one changes, every lake's local vectors are of another model: give it a new name in the catalogue."""


async def digest(text: str, model: str) -> str:
    client = make_client(find_model("local", model))
    vectors = (await client.embed([text])).vectors
    await client.close()
    return hashlib.sha256(np.round(vectors, 4).tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("model", GOLDEN_DIGESTS)
async def test_the_vector_of_a_text_never_changes(model: str) -> None:
    assert await digest(GOLDEN, model) == GOLDEN_DIGESTS[model]


def test_another_process_with_another_hash_seed_gives_the_same_vector() -> None:
    model = "lexical-hashing-v2"
    script = "from tests.tasks.embedding.providers.test_local import *; "
    script += f"print(asyncio.run(digest({GOLDEN!r}, {model!r})))"
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == GOLDEN_DIGESTS[model]


async def test_the_client_embeds_off_the_event_loop_for_nothing() -> None:
    client = make_client(find_model("local", ""))
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    heart = asyncio.create_task(beat())
    answer = await client.embed(list(PASSAGES.values()))
    heart.cancel()
    await client.close()
    assert answer.vectors.shape == (len(PASSAGES), 1024)
    assert answer.billed_tokens == 0
    assert beats > 1


async def test_a_blank_text_is_refused() -> None:
    client = make_client(find_model("local", ""))
    with pytest.raises(TextsRefused):
        await client.embed(["fine", " \n"])
    await client.close()


GOLDEN_SPARSE_DIGEST = "3025d7744d48bcc3"
"""As `GOLDEN_DIGESTS`."""


def test_the_sparse_vector_of_a_text_never_changes() -> None:
    (sparse,) = sparse_vectors([GOLDEN])
    pairs = np.frombuffer(sparse, SPARSE_PAIR)
    rounded = [(int(index), round(float(value), 4)) for index, value in pairs]
    assert hashlib.sha256(repr(rounded).encode()).hexdigest()[:16] == GOLDEN_SPARSE_DIGEST


def test_a_sparse_vector_holds_each_feature_of_its_text_and_has_length_one() -> None:
    text = "Order XJ-48213, 轴承 bearing"
    (sparse,) = sparse_vectors([text])
    pairs = np.frombuffer(sparse, SPARSE_PAIR)
    assert len(pairs) == len(features(text))
    assert (np.diff(pairs["index"].astype(np.int64)) > 0).all()
    assert np.linalg.norm(pairs["value"]) == pytest.approx(1.0)


@given(st.text().filter(lambda text: text.strip()))
def test_every_text_that_is_not_blank_has_a_sparse_vector(text: str) -> None:
    (sparse,) = sparse_vectors([text])
    assert len(sparse) > 0


async def test_sparse_vectors_come_with_the_dense_ones_when_asked_for() -> None:
    texts = list(PASSAGES.values())
    client = make_client(find_model("local", ""), sparse=True)
    answer = await client.embed(texts)
    await client.close()
    assert np.array_equal(answer.vectors, lexical_vectors(texts, 1024))
    assert answer.sparse == sparse_vectors(texts)


def test_examples() -> None:
    assert doctest.testmod(local).failed == 0
