"""SIGKILL after every step of a Batch job: no job is started twice, and no text is bought twice."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.flows.prose import english
from tests.flows.site import Site
from tests.system.crashes.runs import Runs, assert_tidy

STEPS = (
    *("batch: written", "batch: uploading", "batch: was uploaded", "batch: uploaded", "batch: creating"),
    *("batch: was created", "batch: open", "batch: over", "vectors: append: journalled", "batch: journalled"),
    *("batch: settled", "collection: upserted"),
)
WHERE_MONEY_IS = ("batch: was uploaded", "batch: was created", "vectors: append: journalled", "batch: journalled")


@pytest.mark.parametrize("steps", [WHERE_MONEY_IS, pytest.param(STEPS, marks=pytest.mark.thorough)])
def test_runs_killed_at_later_and_later_steps_buy_everything_once(steps: Sequence[str], site: Site, runs: Runs) -> None:
    site.overrides += ("embedding.batch=always", "embedding.batch_poll_s=0.1")
    for number in range(4):
        site.write(f"{number}.md", f"# {number}\n\n" + english(20, seed=number))
    for step in steps:
        runs.ingest(site, step)
    ended = runs.ingest(site)
    books = site.simulator.books
    jobs: dict[str, Any] = site.simulator.store.as_json()
    assert ended.exit_code == 0
    assert books.texts_bought_again == 0
    assert books.pools["realtime"].texts_bought == 0
    assert set(jobs["jobs_by_input_file"].values()) == {1}
    assert set(jobs["jobs"]) == {"completed"}
    assert ended.report["documents"]["seen"] == 4
    site.check(dimensions=64, max_tokens=512)
    assert_tidy(site)
