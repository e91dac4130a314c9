"""Run the plant: `python -m plant`."""

from plant.cli import app

if __name__ == "__main__":
    app()
