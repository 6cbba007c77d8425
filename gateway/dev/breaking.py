"""What the demo can break on purpose; a module of its own, so that the command line's help stays quick."""

from enum import StrEnum


class Break(StrEnum):
    """A fault that the demo must notice."""

    TOKEN = "token"  # the provider signs with another auth token than the tenant's
    RECEIVER = "receiver"  # the integrator's receiver is down
    MIGRATION = "migration"  # the database is one migration short
