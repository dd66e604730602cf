"""The parts of a detector by the names of the choices that they are."""

import pytest

from asd_lightning.configuration import CONF_DIR, choices_of
from asd_lightning.detector import plain_names
from asd_lightning.detector.constructors import KINDS, spec_of
from asd_lightning.detector.plain_names import back_end_name, encoder_name
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import load_yaml
from asd_lightning.trust import read_part


@pytest.mark.parametrize("choice", choices_of("model/scorer"))
def test_every_back_end_has_the_name_by_which_it_is_chosen(choice):
    spec = spec_of(read_part(CONF_DIR / f"model/scorer/{choice}.yaml", "model", 7))
    assert back_end_name(spec) == choice
    assert back_end_name({"kind": "CompressedScorer", "size": 9, "scorer": spec}) == choice
    assert back_end_name(spec | {"own": 1}) == f"{choice} with own=1"


def test_a_setting_of_a_part_in_it_is_told_by_its_place():
    spec = spec_of(read_part(CONF_DIR / "model/scorer/whitened_pair.yaml", "model", 0))
    spec["scorers"]["local_density"]["neighbors"] = 3
    assert back_end_name(spec) == "whitened_pair with scorers.local_density.neighbors=3"


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"kind": ["KNNScorer"]},
        {"kind": "Smote"},
        {"kind": "CompressedScorer"},
        {"kind": "CombinedScorer", "scorers": [1]},
        {"kind": "KNNScorer", "smote": {"kind": "os.system"}},
    ],
)
def test_what_is_no_back_end_is_told(wrong):
    with pytest.raises(UserError, match="holds"):
        back_end_name(wrong)


@pytest.mark.parametrize("branch", choices_of("model/embedder/branches"))
def test_every_encoder_of_this_package_has_a_plain_name(branch):
    content = load_yaml(CONF_DIR / f"model/embedder/branches/{branch}.yaml")[branch]["encoder"]
    if isinstance(content, dict) and content["_target_"].rpartition(".")[2] in KINDS:
        assert encoder_name(spec_of(content)) == branch
    else:
        assert encoder_name({"kind": "load_encoder", "weights": "mn04_as"}) == "mn04_as"


def test_of_many_machines_the_choices_are_read_once(monkeypatch):
    read = []

    def counted(path):
        read.append(path)
        return load_yaml(path)

    monkeypatch.setattr(plain_names, "load_yaml", counted)
    plain_names._choices.cache_clear()
    assert {back_end_name({"kind": "ResidualScorer"}) for _ in range(3)} == {"residual"}
    assert len(read) == len({*read}) > 0
