"""The server process: application, certificates, health check, metrics and systemd service."""
