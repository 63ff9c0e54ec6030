"""Benchmarks of rule table, access log and hub, beside plain programs. `make bench`."""
