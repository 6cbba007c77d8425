"""One kit a provider, found by its module's name."""

import importlib
import pkgutil
from collections.abc import Mapping

from tests.conformance.kit import ChannelKit


def all_kits() -> Mapping[str, ChannelKit]:
    """The kits by provider."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}").KIT for name in names}
