"""A row that is its passage's stands out from the others; one that is not, does not."""

import numpy as np

from tasks.standing_out import LEAST_LEAD, lead_of, leads

ROWS, DIMENSIONS = 60, 256


def questions_and_rows() -> tuple[np.ndarray, np.ndarray]:
    """Each question near its own row: a cosine of about 0.6."""
    chance = np.random.default_rng(0)
    rows = chance.normal(size=(ROWS, DIMENSIONS)).astype(np.float32)
    return (rows + 1.3 * chance.normal(size=rows.shape)).astype(np.float32), rows


def test_own_rows_stand_out() -> None:
    own, lead = leads(*questions_and_rows())
    assert 0.4 < own.min() <= own.max() < 0.8
    assert lead.min() > 2 * LEAST_LEAD


def test_rows_of_others_do_not() -> None:
    questions, rows = questions_and_rows()
    _, lead = leads(questions, np.roll(rows, 1, axis=0))
    assert np.quantile(lead, 0.95) < LEAST_LEAD
    assert lead_of(questions[3], rows[3], rows) > 2 * LEAST_LEAD
    assert lead_of(questions[3], rows[4], rows) < LEAST_LEAD


def test_one_alien_row_is_told_from_the_others() -> None:
    questions, rows = questions_and_rows()
    rows[17] = np.random.default_rng(1).normal(size=DIMENSIONS)
    _, lead = leads(questions, rows)
    assert lead.argmin() == 17
    assert lead[17] < LEAST_LEAD < np.delete(lead, 17).min()


def test_a_row_that_is_not_there_has_no_similarity_and_hides_no_other() -> None:
    questions, rows = questions_and_rows()
    rows[5] = np.nan
    own, lead = leads(questions, rows)
    assert np.isnan([own[5], lead[5]]).all()
    assert np.isfinite(np.delete(lead, 5)).all()


def test_too_few_rows_tell_nothing() -> None:
    questions, rows = questions_and_rows()
    own, lead = leads(questions[:4], rows[:4])
    assert np.isfinite(own).all()
    assert np.isnan(lead).all()
