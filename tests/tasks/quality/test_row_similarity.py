"""A row that is its passage's stands out from the others; one that is not, does not."""

import numpy as np

from millrace.tasks.quality.row_similarity import MIN_Z_SCORE, lead_of, row_similarity

ROWS, DIMENSIONS = 60, 256


def questions_and_rows() -> tuple[np.ndarray, np.ndarray]:
    """Each question near its own row: a cosine of about 0.6."""
    chance = np.random.default_rng(0)
    rows = chance.normal(size=(ROWS, DIMENSIONS)).astype(np.float32)
    return (rows + 1.3 * chance.normal(size=rows.shape)).astype(np.float32), rows


def test_own_rows_stand_out() -> None:
    standing = row_similarity(*questions_and_rows())
    assert 0.4 < standing.cosine.min() <= standing.cosine.max() < 0.8
    assert standing.lead.min() > 2 * MIN_Z_SCORE
    assert standing.stands_out.all()


def test_rows_of_others_do_not() -> None:
    questions, rows = questions_and_rows()
    assert row_similarity(questions, np.roll(rows, 1, axis=0)).stands_out.mean() < 0.05
    assert lead_of(questions[3], rows[3], rows) > 2 * MIN_Z_SCORE
    assert lead_of(questions[3], rows[4], rows) < MIN_Z_SCORE


def test_one_alien_row_is_told_from_the_others() -> None:
    questions, rows = questions_and_rows()
    rows[17] = np.random.default_rng(1).normal(size=DIMENSIONS)
    assert np.flatnonzero(~row_similarity(questions, rows).stands_out).tolist() == [17]


def test_a_row_that_is_not_there_has_no_similarity_and_hides_no_other() -> None:
    questions, rows = questions_and_rows()
    rows[5] = np.nan
    standing = row_similarity(questions, rows)
    assert np.isnan([standing.cosine[5], standing.lead[5]]).all()
    assert np.isfinite(np.delete(standing.lead, 5)).all()
    assert standing.stands_out.all()


def test_too_few_rows_tell_nothing() -> None:
    questions, rows = questions_and_rows()
    for few in (1, 4):
        standing = row_similarity(questions[:few], rows[:few])
        assert np.isfinite(standing.cosine).all()
        assert np.isnan(standing.lead).all()
        assert standing.stands_out.all()


def test_of_many_rows_a_thousand_are_compared_and_the_answer_is_the_same() -> None:
    chance = np.random.default_rng(2)
    rows = chance.normal(size=(2_500, 16)).astype(np.float32)
    standing = row_similarity(rows, rows)
    assert np.allclose(standing.cosine, 1.0)
    assert standing.stands_out.all()
    assert standing.lead.min() > 2.5
