"""`python -m bottleneck`."""

from bottleneck.cli.main import main

if __name__ == "__main__":  # the module may be imported, to read its documentation say
    main()
