"""``python -m factoryplus``."""

from factoryplus.cli import main

main()
