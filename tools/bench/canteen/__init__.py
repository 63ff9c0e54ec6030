"""Benchmark of the exchange with Kormitel, against a plain integrator."""
