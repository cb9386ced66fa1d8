"""`python -m class_kit`: the command line without an installed script."""

from class_kit.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
