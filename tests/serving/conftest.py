"""A served pump."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from asd_lightning.serving.app import make_app
from asd_lightning.serving.guard import Guard
from asd_lightning.serving.settings import Settings
from tests.detector.conftest import pump as pump

Ask = Callable[..., httpx.Response]
HERE = "http://127.0.0.1:8000"


def asking(app: Any, base_url: str = HERE) -> Ask:
    """A client of an application, one request at a time."""

    async def once(method: str, path: str, **how: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=base_url) as client:
            answer = await client.request(method, path, **how)
            # Whoever checks the exchange looks at what was sent too.
            answer.request.read()
            return answer

    return lambda method, path, **how: asyncio.run(once(method, path, **how))


def served(detector: Path, **settings: Any) -> Guard:
    return make_app(Settings(detector, **{"requests_a_minute": 0.0, **settings}))


@pytest.fixture(scope="session")
def app(pump: Path) -> Guard:
    """Of the pump's detector: accept nothing into it."""
    return served(pump / "pump.asd")


@pytest.fixture(scope="session")
def ask(app: Guard) -> Ask:
    return asking(app)


@pytest.fixture
def own(pump: Path, tmp_path: Path) -> Path:
    """A copy of the detector, to be changed."""
    return Path(shutil.copy(pump / "pump.asd", tmp_path / "own.asd"))
