"""Which code made a run: the commit it was checked out from, and the exact versions of all packages."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import asd_lightning


def commit_of(folder: Path) -> str | None:
    """The commit of the checkout that ``folder`` is in, with ``+changes`` where files differ from it; or ``None``.

    ``None``: no checkout, as of an installed wheel, or no git.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    # A package installed in an environment inside another project's checkout is not that project's code.
    if commit is None or _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{commit}+changes" if changed else commit


def commit() -> str | None:
    """The commit of this package."""
    return commit_of(Path(asd_lightning.__file__).parent)


@cache
def packages() -> str:
    """``name==version`` of every installed package, a line each, as ``pip install -r`` takes them.

    Read once for a process: it takes a good part of a second, and a sweep asks after every run.
    """
    found = {each.metadata["Name"]: each.version for each in distributions() if each.metadata["Name"]}
    return "".join(f"{name}=={found[name]}\n" for name in sorted(found, key=str.lower))


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
