"""A described submission, and what is wrong with one."""

from collections.abc import Callable
from pathlib import Path

from asd_lightning.submission.check import (
    ClipNames,
    check_submission,
)

LABEL = "Huang_XJU_task2_1"
PAGE = Path(__file__).parents[2] / "docs/submission.md"
# The page says that this is enough.
INFO = PAGE.read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]
EXPECTED = {(machine, "00"): [f"section_00_{i:04d}.wav" for i in range(5)] for machine in ("AutoTrash", "Polisher")}
SCORES = "anomaly_score_AutoTrash_section_00_test.csv"
DECISIONS = "decision_result_AutoTrash_section_00_test.csv"
META = f"{LABEL}.meta.yaml"


def broken(folder: Path, expected: ClipNames | None = None) -> list[str]:
    return [problem.text for problem in check_submission(folder, expected)]


def edited(old: str, new: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return edit
