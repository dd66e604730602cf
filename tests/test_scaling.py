"""The arithmetic of docs/scaling.md is right, and starts from numbers that the files it names hold."""

import ast
import operator
import re

import pytest

from tests.reference import REPOSITORY

PAGE = (REPOSITORY / "docs/scaling.md").read_text(encoding="utf-8")
MEASURED = re.findall(r"^\| ([\d.,]+) \| .* \| (\w+\.md) \|$", PAGE, re.M)
WORKED = re.findall(r"\| `([^`=]+) = ([\d.]+)` \|", PAGE)
# Said in words there: what is chosen, and units.
GIVEN = {
    "1",
    "2",
    "3",
    "4",
    "8",
    "10",
    "12",
    "24",
    "50",
    "63",
    "100",
    "128",
    "365",
    "1000",
    "1024",
    "3600",
    "10000",
    "16000",
    "86400",
}
GIVEN |= {"1000000", "1000000000", "0.05"}
STEPS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def value(node: ast.expr) -> float:
    if isinstance(node, ast.BinOp):
        return STEPS[type(node.op)](value(node.left), value(node.right))
    assert isinstance(node, ast.Constant)
    return float(node.value)


@pytest.mark.parametrize(("number", "file"), MEASURED)
def test_a_measured_number_stands_in_the_file_it_is_from(number, file):
    text = (REPOSITORY / "benchmarks" / file).read_text(encoding="utf-8")
    assert re.search(rf"(?<![\d.,]){re.escape(number)}(?![\d]|[.,]\d)", text)


def test_each_step_is_right_and_starts_from_what_is_known():
    known = GIVEN | {number.replace(",", "") for number, _ in MEASURED}
    assert len(WORKED) > 20
    for expression, told in WORKED:
        assert f"{value(ast.parse(expression, mode='eval').body):.3g}" == f"{float(told):.3g}", expression
        assert set(re.findall(r"[\d.]+", expression)) <= known, expression
        known.add(told)
    assert len(MEASURED) > 10


def test_what_is_wrong_would_be_found():
    assert value(ast.parse("8 * (1 + 2) / 4", mode="eval").body) == 6
    assert not re.search(r"(?<![\d.,])854(?![\d]|[.,]\d)", "8545 and 0.854 and 854.2")
