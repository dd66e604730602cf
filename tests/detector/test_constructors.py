"""The closed list of what a detector's file is made of: all that conf/ names, and nothing else."""

import pytest
import yaml
from omegaconf import open_dict

from asd_lightning.configuration import CONF_DIR, compose_train, plain
from asd_lightning.detector.constructors import KINDS, build_embedder, embedder_spec, scorer_maker, spec_of
from asd_lightning.errors import UserError

SCORERS = sorted(path.stem for path in (CONF_DIR / "model/scorer").glob("*.yaml"))


def targets(node):
    if isinstance(node, dict):
        own = [node["_target_"]] if "_target_" in node else []
        return own + [name for value in node.values() for name in targets(value)]
    return []


def test_all_that_the_package_names_is_on_the_list():
    folders = ("model/embedder", "model/scorer", "encoders")
    files = [path for folder in folders for path in (CONF_DIR / folder).rglob("*.yaml")]
    named = {target for path in files for target in targets(yaml.safe_load(path.read_text()))}
    # Those have no part in the use of a detector, or are built by their place.
    named -= {"asd_lightning.embedder.Embedder", "asd_lightning.embedder.Branch"}
    named -= {"asd_lightning.features.spec_augment.SpecAugment"}
    # Of other packages: never from a file.
    named -= {"asd_lightning.encoders.installed.load_installed", "torch.nn.Identity"}
    assert named <= {f"asd_lightning.{module}.{name}" for name, module in KINDS.items()}


def test_back_ends_are_those_of_the_configuration():
    # Composed once, with each in turn: to compose takes longer than all that is tested here.
    whole = compose_train([])
    for name in SCORERS:
        with (CONF_DIR / f"model/scorer/{name}.yaml").open() as file:
            options = yaml.safe_load(file)
        kind = options["_target_"].rpartition(".")[2]
        with open_dict(whole):
            whole.model.scorer = options
        config = plain(whole.model)["scorer"]
        assert type(scorer_maker(spec_of(config))()).__name__ == kind


def test_an_embedder_is_that_of_the_configuration():
    import torch
    from hydra.utils import instantiate

    # Of system 3 the branches are not in the order of the alphabet.
    for experiment in ("statistics", "system3"):
        config = plain(compose_train([f"experiment={experiment}", "encoders=tiny"]))["model"]
        torch.manual_seed(0)
        wanted = instantiate(config["embedder"], _convert_="all").eval()
        torch.manual_seed(0)
        made = build_embedder(embedder_spec(config["embedder"], "none")).embedder
        waveform = 0.1 * torch.randn(2, 160_000)
        with torch.inference_mode():
            torch.testing.assert_close(made(waveform), wanted(waveform), rtol=0, atol=0)


@pytest.mark.parametrize("target", ["os.system", "asd_lightning.scoring.knn.np", "my.KNNScorer", "KNNScorer"])
def test_what_is_not_on_the_list_is_refused(target):
    with pytest.raises(UserError, match="no part of this package's own"):
        spec_of({"_target_": target, "_partial_": True})


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "os.system"},
        {"kind": "Smote"},
        {"kind": "KNNScorer", "smote": {"kind": "KNNScorer"}},
        {"kind": "DomainScorer", "scorer": {"kind": "Smote"}},
        {"kind": "CombinedScorer", "scorers": {"a": {"kind": "load_encoder"}}},
        {"kind": ["KNNScorer"]},
        "KNNScorer",
    ],
)
def test_a_kind_stands_in_its_place(spec, unchecked):
    with pytest.raises(UserError, match="holds"):
        scorer_maker(spec)()
