"""Closed sets that the command line offers; a module of their own, so that its help stays quick."""

from enum import StrEnum


class Break(StrEnum):
    """A fault that the demo must notice."""

    TOKEN = "token"  # the provider signs with another auth token than the tenant's
    RECEIVER = "receiver"  # the integrator's receiver is down
    MIGRATION = "migration"  # the database is one migration short


class SimulatedChannel(StrEnum):
    """The channels by the names that the command takes."""

    WHATSAPP = "whatsapp"
    SMS = "sms"
    EMAIL = "email"
