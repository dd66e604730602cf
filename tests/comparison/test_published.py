import math
import re

import pytest
from scipy.stats import hmean

from asd_lightning.comparison.published import (
    AS_PRINTED,
    AS_REPORTED,
    CORRECTED,
    TABLE_2,
    TABLE_2_AVERAGES,
    PublishedRow,
)
from tests.reference import needs_reference, shared_dir

SYSTEMS = list(TABLE_2)


def cut(value: float) -> float:
    """Two decimals, not rounded; the small sum keeps 64.46 from becoming 64.45."""
    return math.floor(value * 100 + 1e-6) / 100


def of_inputs_within_rounding(values: list[float]) -> tuple[float, float]:
    """The harmonic means that two printed decimals leave possible."""
    return float(hmean([value - 0.005 for value in values])), float(hmean([value + 0.01 for value in values]))


@pytest.mark.parametrize("system", SYSTEMS[1:])
@pytest.mark.parametrize("metric", ["auc_source", "auc_target", "pauc"])
def test_printed_averages_are_harmonic_means_over_the_machines(system: str, metric: str) -> None:
    values = [getattr(row, metric) for row in TABLE_2[system].values()]
    low, high = of_inputs_within_rounding(values)
    assert cut(low) <= getattr(TABLE_2_AVERAGES[system], metric) <= cut(high)
    assert abs(getattr(TABLE_2_AVERAGES[system], metric) - sum(values) / 7) > 0.02


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_average_hmean_is_the_official_score(system: str) -> None:
    values = [value for row in TABLE_2[system].values() for value in row[:3]]
    low, high = of_inputs_within_rounding(values)
    assert cut(low) <= TABLE_2_AVERAGES[system].hmean <= cut(high)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_machines_hmean_follows_from_its_row(system: str) -> None:
    for row in TABLE_2[system].values():
        low, high = of_inputs_within_rounding(list(row[:3]))
        assert cut(low) <= row.hmean <= cut(high)


def test_the_corrected_row_agrees_with_the_averages_and_the_printed_one_does_not() -> None:
    system, machine = CORRECTED
    averages = TABLE_2_AVERAGES[system]
    for metric in ("auc_source", "auc_target", "pauc", "hmean"):
        others = [getattr(row, metric) for name, row in TABLE_2[system].items() if name != machine]
        if metric == "hmean":
            others = [value for name, row in TABLE_2[system].items() if name != machine for value in row[:3]]
        printed = list(AS_PRINTED[:3]) if metric == "hmean" else [getattr(AS_PRINTED, metric)]
        true = list(TABLE_2[system][machine][:3]) if metric == "hmean" else [getattr(TABLE_2[system][machine], metric)]
        assert abs(hmean([*others, *true]) - getattr(averages, metric)) < 0.011
        assert abs(hmean([*others, *printed]) - getattr(averages, metric)) > 0.05
    assert TABLE_2[system]["slider"] == AS_PRINTED


@needs_reference("report.txt")
def test_the_numbers_are_those_of_the_report() -> None:
    printed: dict[str, list[PublishedRow]] = {}
    columns: list[tuple[float, ...]] = []
    name = ""
    lines = (shared_dir() / "report.txt").read_text().splitlines()
    for line in lines:
        match = re.fullmatch(r"(\w*)\t(AUC_s|AUC_t|pAUC|hmean)" + r"\t([\d.]+)" * 4, line)
        if match is None:
            continue
        name = match[1] or name
        columns.append(tuple(float(value) for value in match.groups()[2:]))
        if match[2] == "hmean":
            printed[name] = [PublishedRow(*values) for values in zip(*columns, strict=True)]
            columns = []
    assert len(printed) == 8
    for index, system in enumerate(SYSTEMS):
        assert TABLE_2_AVERAGES[system] == printed["Average"][index]
        for machine, row in TABLE_2[system].items():
            expected = printed[machine][index]
            if (system, machine) == CORRECTED:
                assert expected == AS_PRINTED
            else:
                assert row == expected


@needs_reference("method.md")
def test_the_second_hand_scores_are_those_cited() -> None:
    text = (shared_dir() / "method.md").read_text()
    cited = text[text.index("Published for comparison") :]
    for score in AS_REPORTED:
        for value in (score.development, score.evaluation):
            assert value is None or f"{value:g}" in cited or f"{value:.1f}" in cited
