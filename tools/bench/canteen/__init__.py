"""The exchange with Kormitel, measured beside a plain integrator."""
