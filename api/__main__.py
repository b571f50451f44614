"""``python -m trialpack``."""

# pyright: reportMissingImports=false

from .cli import main

if __name__ == "__main__":
    main()
