"""The hub's accounts: users and their passwords, log-ins and API tokens."""
