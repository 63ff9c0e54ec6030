"""What pytest.raises is to pytest, for both runtimes."""


def error_of(kind, function, *arguments):
    """Return the words of the error of this kind that the call raises; fail if it raises none."""
    try:
        function(*arguments)
    except kind as e:
        return str(e)
    raise AssertionError("no %s was raised" % kind.__name__)
