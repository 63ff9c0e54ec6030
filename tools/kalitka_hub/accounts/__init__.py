"""Who may use the hub: users and their passwords, log-ins and API tokens."""
