"""Run a benchmark: `python -m bench path ...`."""

from bench.cli import app

if __name__ == "__main__":
    app()
