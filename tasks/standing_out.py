"""How far the row of a passage stands out from other rows, for a question that is a sentence of that passage.

No model judges: in a sound index a passage's own row is far nearer to a sentence of it than the rows of other passages
are, and a row whose vector is not the passage's is as far away as any. Pure.
"""

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

LEAST_LEAD = 2.5
"""A row whose lead is below this does not stand out. With the provider `local`, on the sample corpus: own rows lead by
5.5 to 20, rows with a random vector by -2 to 1.6, the rows of neighbouring passages by up to 4.6."""

_FEWEST = 8
_TINY = 1e-12


def leads(questions: Vectors, rows: Vectors) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The cosine of each question with its own row, and by how much it is above that with the other rows.

    Args:
        questions: float32 (n, dimensions).
        rows: float32 (n, dimensions), row i that of question i; not a number where the row is not there.

    Returns:
        float64 (n,) and float64 (n,). The lead is in standard deviations of the cosines with the other rows; not a
        number where there is no row, or too few others to tell.
    """
    cosines = _unit(questions) @ _unit(rows).T
    own = np.diagonal(cosines).copy()
    lead = np.full(len(own), np.nan)
    for i, cosine in enumerate(own):
        others = np.delete(cosines[i], i)
        others = others[np.isfinite(others)]
        if np.isfinite(cosine) and len(others) >= _FEWEST:
            lead[i] = (cosine - others.mean()) / max(float(others.std()), _TINY)
    return own, lead


def lead_of(question: Vectors, row: Vectors, others: Vectors) -> float:
    """The lead of `row` (float32, (dimensions,)) over `others` (float32, (n, dimensions)) for one question."""
    cosines = _unit(others) @ _unit(question[np.newaxis])[0]
    cosines = cosines[np.isfinite(cosines)]
    if len(cosines) < _FEWEST:
        return float("nan")
    own = float(_unit(row[np.newaxis])[0] @ _unit(question[np.newaxis])[0])
    return (own - float(cosines.mean())) / max(float(cosines.std()), _TINY)


def _unit(vectors: Vectors) -> npt.NDArray[np.float64]:
    exact = vectors.astype(np.float64)
    length = np.linalg.norm(exact, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit: npt.NDArray[np.float64] = exact / length
    return unit
