"""Under which conditions a figure was measured: without them it says nothing."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from gateway.bench.show import StepFailed
from gateway.bench.statements import STATEMENTS
from handlers.runtime import product_version

_CPU_INFO = Path("/proc/cpuinfo")


async def read_conditions(admin: Any, cores: str, **more: Any) -> dict[str, Any]:
    """Date, machine, versions, the settings that make a commit durable, and ``more``."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "waystation": product_version(),
        "processor": _processor(),
        "cores": f"{os.cpu_count()} ({cores})",
        "python": platform.python_version(),
        "libraries": f"aiohttp {aiohttp.__version__}, asyncpg {asyncpg.__version__}",
        **await _database(admin),
        **more,
    }


async def require_durable_commits(admin: Any) -> None:
    """Raises StepFailed where a commit may be lost, and is cheaper for it."""
    database = await _database(admin)
    if database["fsync"] != "on" or database["synchronous_commit"] != "on":
        raise StepFailed(f"commits are not durable here: {database}")


async def _database(admin: Any) -> dict[str, Any]:
    return dict(await admin.fetchrow(STATEMENTS["conditions"]))


def _processor() -> str:
    lines = _CPU_INFO.read_text(encoding="utf-8").splitlines() if _CPU_INFO.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
