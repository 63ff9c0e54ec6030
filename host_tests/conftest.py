"""What a test prints as a line `# ...` is a figure: it is shown at the end of the run."""


def pytest_terminal_summary(terminalreporter):
    """Show the figures of all tests, whichever process they ran in."""
    lines = []
    for reports in terminalreporter.stats.values():
        for report in reports:
            # Each report of a test repeats what the ones before it had.
            told = getattr(report, "capstdout", "").splitlines()
            lines.extend(line for line in told if line.startswith("# ") and line not in lines)
    for line in lines:
        terminalreporter.write_line(line)
