"""How near the row of a passage is to a question that is a sentence of it, beside the rows of other passages.

No model judges: in a sound index a passage's own row is far nearer to a sentence of it than the rows of other passages
are, and a row whose vector is not the passage's is as far away as any. Pure.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]

MIN_Z_SCORE = 2.5
"""A row with a lower z-score is no nearer than chance. With the provider `local`, on the sample corpus: own rows have
5.5 to 20, rows with a random vector -2 to 1.6, the rows of neighbouring passages up to 4.6."""

_FEWEST, _MOST = 8, 1_000
_TINY = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class RowSimilarity:
    """How near each question is to its own row; each array has one entry a question.

    `cosine` of the two; `z_score`, by how many standard deviations that is above the cosines with other rows;
    `is_outlier`, whether the row is no nearer than chance and another row is nearer: its vector is hardly that of its
    text. Not a number, and False, where there is no row or too few others to compare with.
    """

    cosine: Numbers
    z_score: Numbers
    is_outlier: npt.NDArray[np.bool_]


def row_similarity(questions: Vectors, rows: Vectors) -> RowSimilarity:
    """How near each question is to its own row, beside at most a thousand of the others' rows.

    Args:
        questions: float32 (n, dimensions).
        rows: float32 (n, dimensions), row i that of question i; not a number where the row is not there.
    """
    asked, known = _unit(questions), _unit(rows)
    own = np.einsum("ij,ij->i", asked, known)
    z_score = np.full(len(own), np.nan)
    is_outlier = np.zeros(len(own), np.bool_)
    compared = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST)).astype(np.int64))
    for i in range(len(own)):
        others = known[compared[compared != i]] @ asked[i]
        z_score[i] = _z_score(own[i], others)
        is_outlier[i] = z_score[i] < MIN_Z_SCORE and own[i] < np.nanmax(others)
    return RowSimilarity(own, z_score, is_outlier)


def z_score_of(question: Vectors, row: Vectors, others: Vectors) -> float:
    """The z-score of `row` (float32, (dimensions,)) over `others` (float32, (n, dimensions)) for one question."""
    asked = _unit(question[np.newaxis])[0]
    return _z_score(float(_unit(row[np.newaxis])[0] @ asked), _unit(others[:_MOST]) @ asked)


def _z_score(own: float, others: Numbers) -> float:
    others = others[np.isfinite(others)]
    if not np.isfinite(own) or len(others) < _FEWEST:
        return float("nan")
    return float((own - others.mean()) / max(float(others.std()), _TINY))


def _unit(vectors: Vectors) -> Numbers:
    exact = vectors.astype(np.float64)
    length = np.linalg.norm(exact, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit: Numbers = exact / length
    return unit
