"""The processes of deploy/processes.toml, for the checks beside this file. As a program it prints the names of those that
are of these kinds, one a line.

usage: processes.py KIND...
"""

import sys
import tomllib
from pathlib import Path


def processes():
    """Every process by its name, in the order of the file."""
    with open(Path(__file__).with_name("processes.toml"), "rb") as file:
        return {process["name"]: process for process in tomllib.load(file)["process"]}


def of_kind(*kinds):
    """The names of those that are of these kinds."""
    return [name for name, process in processes().items() if process["kind"] in kinds]


if __name__ == "__main__":
    print("\n".join(of_kind(*sys.argv[1:])))
