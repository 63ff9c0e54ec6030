"""`python -m kalitka_cli`: the same as `kalitka`."""

from kalitka_cli.main import main

main()
