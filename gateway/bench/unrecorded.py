"""What the product's delivery lane would be if it kept no record of attempts: for comparison, and nowhere else."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gateway.bench.statements import STATEMENTS

_RECORDING = ("claim_deliveries", "settle_deliveries")
_ATTEMPT = re.compile(r"^( *)attempt as \(\n.*?^\1\),\n", re.MULTILINE | re.DOTALL)


def without_attempts(definition: str) -> str:
    """A function's definition without its part named ``attempt``; raises ValueError where there is none."""
    cut, parts = _ATTEMPT.subn("", definition)
    if parts != 1:
        raise ValueError("attempts are written in another way than this benchmark knows")
    return cut


@asynccontextmanager
async def no_attempts_recorded(admin: Any) -> AsyncIterator[None]:
    """While the block runs, claims and settlements of this database write no attempts."""
    definitions = [await admin.fetchval(STATEMENTS["function_definition"], name) for name in _RECORDING]
    for definition in definitions:
        await admin.execute(without_attempts(definition))
    try:
        yield
    finally:
        for definition in definitions:
            await admin.execute(definition)
