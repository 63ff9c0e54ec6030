"""What the table costs, beside what one would write instead. `make bench`."""
