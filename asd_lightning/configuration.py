"""Where the Hydra configuration lies, how overrides change it, and how it becomes objects.

Nothing here imports torch, which takes seconds: a mistyped override is told at once.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers.oc import env

from asd_lightning.errors import UserError
from asd_lightning.plain_text import HIDDEN, did_you_mean, is_secret, without_credentials

_PACKAGE = Path(__file__).resolve().parent
# Inside the wheel, or beside the package in a checkout.
CONF_DIR = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())

OWN = "ASD_CONFIG_DIR"
"""Environment variable: folders laid out as ``conf``, with files of one's own; ``--config-dir`` adds to it."""

NO_PARTIAL = "needs a line `_partial_: true`, since a back-end is made anew for each machine"
"""What is wrong with the file of a back-end that lacks it."""

# Hydra gives a meaning to each of these in a value.
_PLAIN_OVERRIDE = re.compile(r"""[A-Za-z_][\w./]*=[^,\[\]{}()"'$\\]+""")
# Free in the configuration; the encoder knows its options and refuses others by name.
_ENCODER_OPTION = re.compile(r"encoders\.\w+\.config\.\w")
# Loggers are a list, and Hydra has no other word for an empty one.
_NO_LOGGER = frozenset({"logger=null", "logger=none", "~logger"})
# A choice for each branch by itself.
_POOLING = "model/embedder/pooling"
_POOLING_OF_A_BRANCH = re.compile(r"model\.embedder\.branches\.\w+\.(?:scored_)?pooling")
# What the branches' files leave to the constructor.
_BRANCH_OPTION = re.compile(
    r"model\.embedder\.branches\.\w+\.(embed_dim|lora_rank|lora_alpha|lora_layers|normalize|finetuning)="
)


def own_folders() -> list[Path]:
    """Folders of configuration of one's own, as this command or the environment names them."""
    return [Path(text).expanduser().absolute() for text in os.environ.get(OWN, "").split(os.pathsep) if text]


def search_path(folders: Sequence[Path]) -> list[str]:
    """The override that lets Hydra find files there, after this package's own; none where there are no folders."""
    quoted = ",".join("'file://" + str(folder).replace("'", "\\'") + "'" for folder in dict.fromkeys(folders))
    return [f"hydra.searchpath=[{quoted}]"] if quoted else []


def choices_of(group: str, folders: Sequence[Path] = ()) -> list[str]:
    """Names of the files that a group has, here and in ``folders``."""
    return sorted({path.stem for place in (CONF_DIR, *folders) for path in (place / group).glob("*.yaml")})


def for_hydra(override: str) -> str:
    """``override`` as Hydra takes it: what it cannot read as it is gets quotes, an encoder's option gets its ``++``.

    A path such as ``data.root=my pump=2`` or ``data.root=Prüfstand`` then needs no quotes in quotes.
    """
    if _ENCODER_OPTION.match(override) or _BRANCH_OPTION.match(override):
        return f"++{override}"
    if override in _NO_LOGGER:
        return "logger=[]"
    if _PLAIN_OVERRIDE.fullmatch(override):
        try:
            parse_overrides([override])
        except UserError:
            key, value = override.split("=", 1)
            return f"{key}='{value}'"
    return override


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Hydra's reading of each override.

    Raises:
        UserError: it cannot read one.
    """
    parser = OverridesParser.create()
    parsed = []
    for override in overrides:
        try:
            parsed.append(parser.parse_override(override))
        except HydraException as error:
            advice = "a value with commas, brackets or quotes in it goes in quotes inside quotes, KEY=\"'VALUE'\""
            raise UserError(f"{override}: not readable as KEY=VALUE ({_first_line(error)}); {advice}") from error
    return parsed


def compose_train(overrides: Sequence[str], output_dir: Path | None = None) -> DictConfig:
    """The training configuration with ``overrides``, outside a Hydra run.

    It becomes Hydra's current configuration, for the ``${hydra:...}`` values in it.

    Args:
        overrides: as on the command line.
        output_dir: where outputs go; by default where they would in a Hydra run.

    Raises:
        UserError: an override that does not fit; the message names it.
    """
    _refuse_missing_parts(parse_overrides(overrides))
    if not any(override.startswith("hydra.searchpath=") for override in overrides):
        overrides = [*search_path(own_folders()), *overrides]
    with _mistakes_named(), initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config: DictConfig = compose("train", overrides=[*overrides], return_hydra_config=True)
        # First: the output folder is made of values that look into Hydra's configuration.
        HydraConfig.instance().set_config(config)
        hydra_config = HydraConfig.get()
        with read_write(hydra_config):
            hydra_config.runtime.output_dir = str(config.hydra.run.dir if output_dir is None else output_dir)
        with open_dict(config):
            del config["hydra"]
        if "experiment" in config:
            raise UserError(_not_global(f"experiment/{HydraConfig.get().runtime.choices['experiment']}.yaml"))
        OmegaConf.to_container(config, resolve=True)
    return config


@contextmanager
def hydra_as_before() -> Iterator[None]:
    """Restore Hydra's process-wide configuration afterwards: the calling program may use Hydra itself."""
    before = HydraConfig.instance().cfg
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


def is_option(argument: str) -> bool:
    """Whether it is one of Hydra's options, or the value of one: Hydra takes no override after them."""
    return argument.startswith("-") or not ("=" in argument or argument.startswith("~"))


def let_hydra_print(arguments: Sequence[str]) -> None:
    """What ``--cfg job``, ``--info`` and ``--hydra-help`` show; nothing is run, and nothing heavy imported."""

    @hydra.main(config_path=str(CONF_DIR), config_name="train", version_base="1.3")  # type: ignore[untyped-decorator]
    def nothing(_: DictConfig) -> None:
        """Hydra shows what it is asked for, and does not call this."""

    script = sys.argv
    sys.argv = [script[0], *sorted(arguments, key=is_option)]
    try:
        nothing()
    finally:
        sys.argv = script


@contextmanager
def _mistakes_named() -> Iterator[None]:
    """What Hydra and OmegaConf say of an override that does not fit, as a UserError that says what would."""
    try:
        yield
    except MissingConfigException as error:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        raise _no_such_choice(group, choice) from error
    except yaml.MarkedYAMLError as error:
        place = f"{error.problem_mark.name}, line {error.problem_mark.line + 1}" if error.problem_mark else "a file"
        raise UserError(f"{place}: not readable as YAML, {error.problem}; look at the lines above it, too") from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        text = _first_line(error)
        if match := re.match(r"In '(experiment/.+?)': Could not override '[^']*@experiment\.", text):
            text = _not_global(f"{match[1]}.yaml")
        elif match := re.match(r"Could not override '(?:(.*)@)?([^']+)'", text):
            text = _not_overridden(match[1], match[2])
        elif match := re.match(r"Ambiguous value for argument '(.+)'", text):
            text = f"{match[1]}: several values; for a sweep over them add -m, for a list write [...]"
        elif match := re.match(r"Error merging override \+{0,2}([\w.]+)=(.*)", text):
            text = of_another_kind(match[1], match[2])
        raise UserError(text) from error


def refuse_missing_choices(overrides: Sequence[Override]) -> None:
    """Raise UserError where one of several values, for a sweep, is no choice of its group."""
    for one in overrides:
        # Of a glob Hydra takes what is there.
        if not is_group(one) or not one.is_choice_sweep():
            continue
        group = str(one.key_or_group)
        for value in (
            parsed.value() for text in one.sweep_string_iterator() for parsed in parse_overrides([f"x={text}"])
        ):
            for choice in value if isinstance(value, list) else [value]:
                places = [place / group / f"{choice}.yaml" for place in (CONF_DIR, *own_folders())]
                if choice is not None and not any(place.is_file() for place in places):
                    raise _no_such_choice(group, str(choice))


def _no_such_choice(group: str, choice: str) -> UserError:
    choices = choices_of(group, own_folders())
    own = "" if own_folders() else "; one of your own takes --config-dir FOLDER"
    meant = did_you_mean(choice, choices)
    return UserError(f"{group}={choice}: no such choice{meant}; there are {', '.join(choices)}{own}")


def _not_global(file: str) -> str:
    return (
        f"{file}: its first line must be `# @package _global_`, so that what it says is said of the whole and not of "
        "a part called experiment"
    )


def _not_overridden(group: str | None, key: str) -> str:
    if group == _POOLING:
        return f"{_POOLING}@{key}: the system has no such branch; model/embedder/branches=[...] chooses them"
    if key == _POOLING:
        return f"{key}: a choice of each branch; say which, {key}@model.embedder.branches.NAME.pooling=CHOICE"
    return no_such_setting(key, _default_settings()) + "; `asd train --cfg job` shows all"


def of_another_kind(key: str, value: Any) -> str:
    """What to say of a single value where many settings or a list are: a choice among files takes a slash."""
    text = f"[{','.join(map(as_typed, value))}]" if isinstance(value, list) else as_typed(value)
    group = key.replace(".", "/")
    if choices_of(group, own_folders()):
        return f"{key}={text}: a choice takes a slash, {group}={text}"
    if _POOLING_OF_A_BRANCH.fullmatch(key):
        return f"{key}={text}: a choice takes its group's name, {_POOLING}@{key}={text}"
    return f"{key}={text}: a value of another kind is needed; `asd train --cfg job` shows what is there"


def is_group(override: Override) -> bool:
    """Whether it chooses one of several files of the configuration."""
    return (CONF_DIR / str(override.key_or_group)).is_dir()


def _refuse_missing_parts(overrides: Sequence[Override]) -> None:
    """Hydra would say that it wants a word, and not of what; without a whole part nothing can be run."""
    for one in overrides:
        group = str(one.key_or_group)
        if one.is_delete() and group in _needed():
            raise UserError(f"{one.input_line}: a run needs one; give {group}=VALUE, or leave it as it is")
        if is_group(one) and (("/" not in group) if one.is_delete() else one.value() is None):
            single = f"; ~{group}.NAME leaves a single one out" if group == "callbacks" else ""
            raise UserError(
                f"{one.input_line}: a choice is needed, {group}={'|'.join(choices_of(group, own_folders()))}{single}"
            )
        # Of other groups Hydra merges several; a run is called by its experiment.
        if group == "experiment" and isinstance(one.value(), list):
            listed = ",".join(map(str, one.value()))
            raise UserError(
                f"{one.input_line}: one choice is needed, as in experiment={listed or 'NAME'}; for a sweep over "
                "several add -m, without brackets"
            )


@cache
def _needed() -> set[str]:
    """What stands in the configuration beside its groups."""
    return set(yaml.safe_load((CONF_DIR / "train.yaml").read_text(encoding="utf-8"))) - {"defaults"}


def no_such_setting(key: str, settings: Any) -> str:
    """What to say of a key that ``settings`` (plain data) lack: nearest name, or that there is nothing below one."""
    *above, _ = key.split(".")
    node, path = settings, []
    for name in above:
        if not isinstance(node, dict) or name not in node:
            break
        node = node[name]
        path.append(name)
    if path and not isinstance(node, dict | list):
        holder = ".".join(path)
        return f"{key}: {holder} is a plain value, {holder}={as_typed(node)}, and nothing is below it"
    if above and not path and (CONF_DIR / above[0]).is_dir():
        return f"{key}: {above[0]} is a choice, {above[0]}={'|'.join(choices_of(above[0], own_folders()))}"
    return f"{key}: no such setting{did_you_mean(key, [*_groups(), *_keys(settings)])}"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def as_typed(value: Any) -> str:
    """A value as it is written on the command line."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _groups() -> list[str]:
    return sorted({str(path.parent.relative_to(CONF_DIR)) for path in CONF_DIR.rglob("*/*.yaml")})


def _default_settings() -> Any:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return OmegaConf.to_container(compose("train"))


def _keys(node: Any, above: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if not name.startswith("_"):
                yield f"{above}{name}"
            yield from _keys(value, f"{above}{name}.")


def plain(config: DictConfig) -> dict[str, Any]:
    """The configuration as dictionaries, lists and scalars, interpolations resolved."""
    container: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    return container


def recorded(config: DictConfig) -> dict[str, Any]:
    """The configuration as it is written down and shown to loggers: without secrets.

    Interpolations are resolved, but for those of the environment (``${oc.env:NAME}``) outside of ``model`` and
    ``data``, which a test has to find as they were.  Addresses lose their user, password and query, and settings such
    as ``api_key`` their value.
    """
    with _environment_unresolved():
        container = plain(config)
    container |= {part: plain(config[part]) for part in ("model", "data") if part in config}
    cleaned: dict[str, Any] = _cleaned(container)
    return cleaned


def as_yaml(config: DictConfig) -> str:
    """What is ``recorded`` of the configuration, as YAML."""
    return OmegaConf.to_yaml(OmegaConf.create(recorded(config)))


@contextmanager
def _environment_unresolved() -> Iterator[None]:
    def kept(name: str, *default: Any) -> str:
        return f"${{oc.env:{','.join([name, *map(str, default)])}}}"

    OmegaConf.register_new_resolver("oc.env", kept, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", env, replace=True)


def _is_kept_back(key: Any, value: Any) -> bool:
    """Whether a setting is a secret; a reference to the environment is none."""
    return is_secret(str(key)) and isinstance(value, str | int) and "${" not in str(value)


def _cleaned(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: HIDDEN if _is_kept_back(key, value) else _cleaned(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_cleaned(value) for value in node]
    return without_credentials(node) if isinstance(node, str) else node


def instantiate_all(group: DictConfig | None) -> list[Any]:
    """Objects of a group of named entries, in order; entries set to null are left out."""
    return [instantiate(entry) for entry in (group or {}).values() if entry]
