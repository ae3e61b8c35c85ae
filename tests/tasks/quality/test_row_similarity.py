"""A row that is its passage's is far nearer to a sentence of it than others; one that is not is an outlier."""

import numpy as np

from millrace.tasks.quality.row_similarity import MIN_Z_SCORE, row_similarity, z_score_of

ROWS, DIMENSIONS = 60, 256


def questions_and_rows() -> tuple[np.ndarray, np.ndarray]:
    """Each question near its own row: a cosine of about 0.6."""
    chance = np.random.default_rng(0)
    rows = chance.normal(size=(ROWS, DIMENSIONS)).astype(np.float32)
    return (rows + 1.3 * chance.normal(size=rows.shape)).astype(np.float32), rows


def test_own_rows_are_no_outliers() -> None:
    similarity = row_similarity(*questions_and_rows())
    assert 0.4 < similarity.cosine.min() <= similarity.cosine.max() < 0.8
    assert similarity.z_score.min() > 2 * MIN_Z_SCORE
    assert not similarity.is_outlier.any()


def test_rows_of_others_are_outliers() -> None:
    questions, rows = questions_and_rows()
    assert row_similarity(questions, np.roll(rows, 1, axis=0)).is_outlier.mean() > 0.95
    assert z_score_of(questions[3], rows[3], rows) > 2 * MIN_Z_SCORE
    assert z_score_of(questions[3], rows[4], rows) < MIN_Z_SCORE


def test_one_alien_row_is_told_from_the_others() -> None:
    questions, rows = questions_and_rows()
    rows[17] = np.random.default_rng(1).normal(size=DIMENSIONS)
    assert np.flatnonzero(row_similarity(questions, rows).is_outlier).tolist() == [17]


def test_a_row_that_is_not_there_has_no_similarity_and_hides_no_other() -> None:
    questions, rows = questions_and_rows()
    rows[5] = np.nan
    similarity = row_similarity(questions, rows)
    assert np.isnan([similarity.cosine[5], similarity.z_score[5]]).all()
    assert np.isfinite(np.delete(similarity.z_score, 5)).all()
    assert not similarity.is_outlier.any()


def test_too_few_rows_tell_nothing() -> None:
    questions, rows = questions_and_rows()
    for few in (1, 4):
        similarity = row_similarity(questions[:few], rows[:few])
        assert np.isfinite(similarity.cosine).all()
        assert np.isnan(similarity.z_score).all()
        assert not similarity.is_outlier.any()


def test_of_many_rows_a_thousand_are_compared_and_the_answer_is_the_same() -> None:
    chance = np.random.default_rng(2)
    rows = chance.normal(size=(2_500, 16)).astype(np.float32)
    similarity = row_similarity(rows, rows)
    assert np.allclose(similarity.cosine, 1.0)
    assert not similarity.is_outlier.any()
    assert similarity.z_score.min() > 2.5
