"""YAML as `asd_lightning.foreign_files` reads it: within limits, and nothing but plain data."""

from __future__ import annotations

import re
from typing import Any

import yaml

from asd_lightning.limits import DEPTH, DIGITS, YAML_NODES
from asd_lightning.plain_text import is_text


class Loader(yaml.SafeLoader):
    """Plain YAML: no aliases, which grow without limit, no tags, and dates stay the text that they are."""

    nodes = 0
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Count, and refuse what is not read."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self.nodes += 1
        if isinstance(event, yaml.AliasEvent):
            raise _refused("aliases (*name) are not read", event)
        if getattr(event, "tag", None) is not None:
            raise _refused(f"tags ({event.tag}) are not read", event)
        if isinstance(event, yaml.ScalarEvent) and not is_text(event.value):
            raise _refused("half a character (a lone surrogate)", event)
        if self.nodes > YAML_NODES or self.depth > DEPTH:
            raise _refused(f"more than {YAML_NODES:,} values, or deeper than {DEPTH} levels", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Refuse a key that comes a second time."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise _refused(f"the key {twice!r} comes a second time", node)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: Any) -> Any:
        """A number of a length that somebody may have meant."""
        # Long numbers take quadratic time.
        if len(node.value) > DIGITS:
            raise _refused(f"a number of {len(node.value):,} characters", node)
        return self.construct_yaml_int(node) if node.tag.endswith(":int") else self.construct_yaml_float(node)


def _refused(reason: str, place: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, reason, place.start_mark)


# 1e-4 is a number, as it is on the command line.
_FLOAT = r"""[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+
    |\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)"""
_TAG = "tag:yaml.org,2002:"
Loader.add_implicit_resolver(f"{_TAG}float", re.compile(f"^(?:{_FLOAT})$", re.VERBOSE), list("-+0123456789."))
Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag != f"{_TAG}timestamp"]
    for first, forms in Loader.yaml_implicit_resolvers.items()
}
Loader.add_constructor(f"{_TAG}int", Loader.construct_number)
Loader.add_constructor(f"{_TAG}float", Loader.construct_number)
