"""The management API: operations declared once, as routes and as OpenAPI."""
