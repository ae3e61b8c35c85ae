"""`plan` tells how full the chunks are."""

from pathlib import Path

import pytest

from millrace.configs.settings import load_settings
from millrace.flows.commands.plan import make_plan
from millrace.tasks.chunking import Tokenizer


def test_a_plan_tells_the_mean_share_of_the_larger_bound(tmp_path: Path) -> None:
    texts = {"short.txt": "The sluice is opened at dawn.", "long.txt": "The wheel turns all day. " * 40}
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    overrides = [f"lake.path={tmp_path}/lake", f"milvus.uri={tmp_path}/m.db", "embedding.provider=local"]
    settings = load_settings(None, overrides, {})
    assert make_plan(settings, [corpus]).mean_fill is None
    for name, text in texts.items():
        (corpus / name).write_text(text)
    plan = make_plan(settings, [corpus])
    shares = [Tokenizer.load().count(text.strip()) / 512 for text in texts.values()]
    assert plan.mean_fill == pytest.approx(sum(shares) / 2, abs=0.001)
    assert any(line.startswith("fill ") for line in plan.lines())
