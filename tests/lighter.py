"""What tests need not do to test the same: for their own process, and for those that `tests.forked` starts.

Nothing of the tests may be imported here: a process that stands for a user's has the package alone.
"""


def read_configuration_in_c() -> None:
    """Hydra's YAML files are read in C, to the same values: some hundred tests compose, and a fifth of that is YAML."""
    import omegaconf._utils
    import yaml

    slow = yaml.SafeLoader
    yaml.SafeLoader = getattr(yaml, "CSafeLoader", slow)
    loader = omegaconf._utils.get_yaml_loader()
    yaml.SafeLoader = slow
    omegaconf._utils.get_yaml_loader = lambda: loader


def leave_unpainted() -> None:
    """The plots of a run are made, but their files are empty: to paint them takes half the time of a tiny run."""
    from asd_lightning.pages import plots

    plots.save_figure = lambda _figure, path, dpi: path.write_bytes(b"")
