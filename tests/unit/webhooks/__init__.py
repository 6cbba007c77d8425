"""Outgoing webhooks: events, subscriptions, signatures, attempts."""
