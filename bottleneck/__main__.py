"""`python -m bottleneck`."""

from bottleneck.cli.main import main

main()
