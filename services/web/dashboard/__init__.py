"""The dashboard: pages for people, drawn on the server."""
