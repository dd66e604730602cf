"""What tests need not do to test the same: for their own process, and for those that `tests.forked` starts.

Nothing of the tests may be imported here: a process that stands for a user's has the package alone.
"""


def compose_lighter() -> None:
    """Hydra does not read, order and merge the files of one choice twice: hundreds of tests compose, most the same few.

    What it has made of the package's own files is kept, for each choice of them, and copied.  Settings are put in by
    Hydra each time, and with files from elsewhere nothing is kept.
    """
    import pickle
    from functools import wraps

    from hydra._internal import config_loader_impl as hydra
    from hydra._internal.defaults_list import Overrides

    from asd_lightning.configuration import CONF_DIR

    _read_yaml_in_c()
    order, merge = hydra.create_defaults_list, hydra.ConfigLoaderImpl._compose_config_from_defaults_list
    kept = {}

    def is_known(repo):
        return {one.path for one in repo.get_sources() if one.scheme() == "file"} == {str(CONF_DIR)}

    def copied(key, make):
        if key not in kept:
            kept[key] = pickle.dumps(make())
        return pickle.loads(kept[key])

    @wraps(order)
    def ordered(repo, config_name, overrides_list, **how):
        if not is_known(repo):
            return order(repo, config_name, overrides_list, **how)
        given = Overrides(repo, overrides_list)
        settings, given.config_overrides = given.config_overrides, []
        chosen = [one for one in overrides_list if one not in settings]
        made = copied(f"{config_name} {given} {how}", lambda: order(repo, config_name, chosen, **how))
        made.config_overrides = made.overrides.config_overrides = settings
        return made

    @wraps(merge)
    def merged(self, defaults, repo):
        if not is_known(repo):
            return merge(self, defaults, repo)
        made = copied(str(defaults), lambda: merge(self, defaults, repo))
        # Values that hold for one configuration, as ``${now:...}``: those of the one that was kept.
        made._metadata.resolver_cache.clear()
        return made

    _read_files_once(is_known, copied)
    hydra.create_defaults_list = ordered
    hydra.ConfigLoaderImpl._compose_config_from_defaults_list = merged


def _read_files_once(is_known, copied) -> None:
    import copy
    from functools import wraps

    from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository

    load, start = ConfigRepository.load_config, CachingConfigRepository.__init__

    @wraps(load)
    def loaded(self, config_path):
        if not is_known(self):
            return load(self, config_path)
        return copied(f"file {config_path}", lambda: load(self, config_path))

    @wraps(start)
    def started(self, delegate):
        # Its list of sources is replaced, and nothing in it changed: the store of all plugins need not be copied.
        self.delegate, self.cache = copy.copy(delegate), {}

    ConfigRepository.load_config, CachingConfigRepository.__init__ = loaded, started


def _read_yaml_in_c() -> None:
    """Hydra's files, to the same values."""
    import omegaconf._utils
    import yaml

    slow = yaml.SafeLoader
    yaml.SafeLoader = getattr(yaml, "CSafeLoader", slow)
    loader = omegaconf._utils.get_yaml_loader()
    yaml.SafeLoader = slow
    omegaconf._utils.get_yaml_loader = lambda: loader


def leave_unpainted() -> None:
    """Plots of runs and comparisons are made, but their files are empty: painting takes half a tiny run's time."""
    from asd_lightning.comparison import plot
    from asd_lightning.pages import plots

    def unpainted(_figure, path, dpi=0):
        path.write_bytes(b"")
        return path

    plots.save_figure = plot.save_figure = unpainted
