"""The history of evaluations: newest first, whole or not there, and damage to one of them stops nobody."""

from pathlib import Path

from millrace.tasks.lake import Evaluation, Lake, RunFiles

FIRST = Evaluation("20261120T100000.000Z-aaaaaa", {"self_hit_at_1": 0.97, "per_source": {"文档/a.md": 1.0}})
LAST = Evaluation("20261121T100000.000Z-bbbbbb", {"self_hit_at_1": 0.04, "notes": ["shifted"]})


def test_evaluations_are_listed_newest_first_and_a_damaged_one_is_set_apart(tmp_path: Path) -> None:
    evaluations = RunFiles(tmp_path / "evaluations", Evaluation)
    assert evaluations.newest() == []
    assert evaluations.damaged() == []
    for evaluation in (LAST, FIRST, LAST):
        assert evaluations.save(evaluation) == tmp_path / "evaluations" / f"{evaluation.run}.json"
    broken = [tmp_path / "evaluations" / f"20261122T10000{n}.000Z-cccccc.json" for n in range(4)]
    for path, content in zip(broken, ['{"run": ', "[]", '{"run": 1, "result": {}}', '{"run": "x"}'], strict=True):
        path.write_text(content)
    assert evaluations.newest() == [LAST, FIRST]
    assert evaluations.newest(1) == [LAST]
    assert evaluations.newest(0) == []
    assert [damage.path for damage in evaluations.damaged()] == broken


def test_a_reader_of_the_lake_may_add_one_while_another_process_writes(tmp_path: Path) -> None:
    """What it has half written is not swept up by the writer, which sweeps up what killed runs left."""
    with Lake.open(tmp_path, "docs", read_only=True) as reader:
        reader.evaluations.save(FIRST)
        half = tmp_path / "docs" / "evaluations" / f".{LAST.run}.json.0a1b2c3d.tmp"
        half.write_text("half")
        with Lake.open(tmp_path, "docs") as writer:
            reader.evaluations.save(LAST)
            assert writer.evaluations.newest() == [LAST, FIRST]
        assert half.exists()
