"""``asd serve``: a detector over HTTP, with a page."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd serve DETECTOR``."""
    parser.description = "Judge recordings over HTTP, and on a page in the browser, until Ctrl-C."
    parser.add_argument("detector", type=Path, metavar="DETECTOR", help="as asd enrol writes it")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="to listen at (default: 127.0.0.1, heard by this computer alone)",
    )
    parser.add_argument(
        "--port", type=int, default=8000, metavar="N", help="port to listen at; 0: any that is free (default: 8000)"
    )
    parser.add_argument(
        "--token", metavar="TOKEN", help="that requests must bear; better in the environment, as ASD_TOKEN"
    )
    parser.add_argument(
        "--journal",
        type=Path,
        metavar="FILE",
        help="of a running asd watch, for its events (default: DETECTOR.journal)",
    )
    parser.add_argument("--max-megabytes", type=float, default=100.0, metavar="N", help="of one request (default: 100)")
    parser.add_argument(
        "--max-seconds", type=float, default=600.0, metavar="N", help="of sound in one request (default: 600)"
    )
    parser.add_argument(
        "--requests-a-minute",
        type=float,
        default=300.0,
        metavar="N",
        help="of one client; 0: any number (default: 300)",
    )
    parser.add_argument("--read-only", action="store_true", help="accept nothing into the detector")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name that the server is called by, such as a proxy's; may be given several times",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until the end; returns the exit status."""
    import logging

    from asd_lightning.api import serve

    logging.basicConfig(format="asd: %(message)s")
    serve(
        args.detector,
        args.host,
        args.port,
        token=os.environ.get("ASD_TOKEN", "") if args.token is None else args.token,
        journal=args.journal,
        max_megabytes=args.max_megabytes,
        max_seconds=args.max_seconds,
        requests_a_minute=args.requests_a_minute,
        read_only=args.read_only,
        allow_host=args.allow_host,
    )
    return 0
