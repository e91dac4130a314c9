"""``python -m central``: the hub's command line."""

from central.cli import app

if __name__ == "__main__":
    app()
