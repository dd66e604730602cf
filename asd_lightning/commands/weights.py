"""``asd weights``: list, fetch or import pretrained encoders."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``asd weights``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="the encoders with a name, and which of them are here")
    fetch = actions.add_parser("fetch", help="download, verify and convert one")
    fetch.add_argument("name", metavar="NAME", help="a name from `asd weights list`")
    fetch.add_argument("--url", help="take the file from this address (the checksum is still verified)")
    take = actions.add_parser("import", help="verify and convert a published file at hand")
    take.add_argument(
        "file", metavar="FILE", type=Path, help="BEATs .pt, EAT fairseq .pt, EAT .safetensors or mn04 .pt"
    )
    take.add_argument("--as", dest="name", metavar="NAME", help="name to give it (default: recognised, or the file's)")
    path = actions.add_parser("path", help="where the converted weights are")
    path.add_argument("name", metavar="NAME", nargs="?", help="print this encoder's file instead of the folder")


def run(args: argparse.Namespace) -> int:
    """Run ``asd weights ACTION``."""
    from asd_lightning.encoders.weights import store

    if args.action == "list":
        _print_list()
    elif args.action == "fetch":
        print(f"{args.name}: {store.fetch_weights(args.name, url=args.url)}")
    elif args.action == "import":
        path = store.import_weights(args.file, name=args.name)
        print(f"{path.stem}: {path}")
    elif args.name is None:
        print(store.weights_dir())
    else:
        from asd_lightning.encoders.weights.checkpoints import find_weights

        print(find_weights(args.name))
    return 0


def _print_list() -> None:
    from asd_lightning.encoders.weights.catalog import CATALOG
    from asd_lightning.encoders.weights.store import stored_records, weights_dir
    from asd_lightning.plain_text import printable

    here = stored_records()
    # Plain lines, for a terminal of 80 columns and for other programs: a table would cut names or break them.
    for name in [*CATALOG, *(name for name in here if name not in CATALOG)]:
        entry, record = CATALOG.get(name), here.get(name, {})
        architecture = record.get("architecture") or (entry.architecture if entry else "")
        checksum = record.get("checksum") or ("published" if entry and entry.sha256 else "none published")
        told = "no checksum published" if checksum == "none published" else f"checksum {checksum}"
        terms, origin = (entry.license, entry.origin) if entry else ("unknown", record.get("origin", ""))
        print(f"{name}: {'here' if record else 'not here'}")
        print(f"    {printable(f'{architecture}, license {terms}, {told}')}")
        print(f"    {printable(str(origin))}")
    print(f"folder: {weights_dir()}")
