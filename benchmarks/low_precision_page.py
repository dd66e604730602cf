"""What `low_precision.py` measured, of all processors, as figures and as a page."""

from __future__ import annotations

import json
from typing import Any

from results import HERE, keep

from asd_lightning.precision import Precision

AIMS: dict[Precision, float] = {"bf16": 1.5, "int8": 2.0}


def leave(result: dict[str, Any], on_gpu: bool) -> None:
    """Write ``result`` beside those of other processors, or of other GPUs."""
    name = "low_precision_gpu" if on_gpu else "low_precision"
    path = HERE / f"{name}.json"
    others = json.loads(path.read_text(encoding="utf-8"))["measured"] if path.exists() else []
    results = beside(others, result)
    keep(name, {"measured": results}, page(results, on_gpu))


def beside(others: list[dict[str, Any]], result: dict[str, Any]) -> list[dict[str, Any]]:
    """``result`` among those of other processors; an earlier one of its own goes."""

    def which(one: dict[str, Any]) -> tuple[str, str]:
        # A name may stand for several: "AMD EPYC" has the instructions, or not.
        return name_of(one), str(one["machine"]["refused"])

    return sorted([*(other for other in others if which(other) != which(result)), result], key=which)


def name_of(result: dict[str, Any]) -> str:
    return str(result["machine"]["processor"])


def page(results: list[dict[str, Any]], on_gpu: bool) -> str:
    kind, by = ("GPU", "by the clock") if on_gpu else ("processor", "by the processor's time")
    command = (
        "asd train experiment=mn04 data.clip_seconds=4 model.scoring_precision=bf16"
        if on_gpu
        else "asd enrol --embedder mn04_as --clip-seconds 4 --precision bf16"
    )
    lines = [
        "# Lower precision",
        "",
        *(line for result in results for line in (*circumstances(result), "")),
        f"`python benchmarks/low_precision.py` measures one {kind} and keeps the others.",
        "",
        f"## Times float32, {by}",
        "",
        f"| {kind} | system | precision | threads | median (range) | by the clock | aim | reached |",
        "|---|---|---|---:|---:|---:|---:|---|",
        *(_speed_row(result, row) for result in results for row in result["speed"]),
        "",
        "## What changes, random weights (unjudged: no real weights)",
        "",
        "Change: of the embeddings, relative to their deviation around the mean. Rank correlation: of distances to the "
        "nearest other of 12 made clips.",
        "",
        f"| {kind} | system | precision | change | rank correlation |",
        "|---|---|---|---:|---:|",
        *(
            f"| {name_of(result)} | {row['system']} | {row['precision']} | {row['change']:.4f} | "
            f"{row['agreement']:.4f} |"
            for result in results
            for row in result["random"]
        ),
    ]
    real = [(name_of(result), row) for result in results for row in result["real"]]
    if real:
        lines += [
            "",
            "## What changes, mn04 with its weights on real machines",
            "",
            f"`{command}` against float32.",
            "",
            f"| {kind} | machine | precision | rank correlation, left-out normal recordings | of test clips | "
            "decisions changed | largest change of a score |",
            "|---|---|---|---:|---:|---:|---:|",
            *(
                f"| {name} | {row['machine']} | {row['precision']} | {row['agreement']:.4f} | "
                f"{row['agreement_of_test']:.4f} | {row['decisions_changed']} of {row['test_clips']} | "
                f"{100 * row['largest_change_of_a_score']:.2g} % |"
                for name, row in real
            ),
        ]
    return "\n".join(lines) + "\n"


def circumstances(result: dict[str, Any]) -> list[str]:
    """What was measured on, and what the package refuses there."""
    machine = result["machine"]
    lines = [
        f"**{machine['processor']}**, {machine['cores']} cores, torch {machine['torch']}, load average "
        f"{machine['load_average_at_start']:.1f} at the start; {machine['clips']} clips of {machine['seconds']} s."
    ]
    for precision, why in machine["refused"].items():
        if why:
            there = any(row["precision"] == precision for row in result["speed"])
            lines.append(
                f"The package refuses {precision} there (`{why}`); its speed is "
                f"{'measured all the same' if there else 'left out'}."
            )
    return lines


def _speed_row(result: dict[str, Any], row: dict[str, Any]) -> str:
    aim = AIMS[row["precision"]]
    told = "no: refused" if result["machine"]["refused"][row["precision"]] else ("no", "yes")[row["median"] >= aim]
    return (
        f"| {name_of(result)} | {row['system']} | {row['precision']} | {row['threads']} | {row['median']:.2f} "
        f"({row['min']:.2f} to {row['max']:.2f}) | {row['median_by_the_clock']:.2f} | {aim:g} | "
        f"{'no aim' if row['system'].startswith('mn04') else told} |"
    )
