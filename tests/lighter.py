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


def read_configuration_once() -> None:
    """Hydra reads a file of its configuration again only where it has changed: to read takes a quarter of composing.

    What is read is as good the second time: Hydra itself keeps it, for as long as it composes once.
    """
    from pathlib import Path

    from hydra._internal.config_repository import ConfigRepository, ObjectType

    load, known = ConfigRepository.load_config, {}

    def load_known(self, config_path):
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or source.scheme() != "file":
            return load(self, config_path)
        path = Path(source.path, source._normalize_file_name(config_path))
        key = path, source.provider, config_path, path.stat().st_mtime_ns, path.stat().st_size
        if key not in known:
            known[key] = load(self, config_path)
        return known[key]

    ConfigRepository.load_config = load_known


def leave_unpainted() -> None:
    """The plots of a run are made, but their files are empty: to paint them takes half the time of a tiny run."""
    from asd_lightning.pages import plots

    plots.save_figure = lambda _figure, path, dpi: path.write_bytes(b"")
