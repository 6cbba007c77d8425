"""Stand-ins of the providers beside Twilio: one module each, one application for all."""
