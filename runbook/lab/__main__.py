"""Run the lab's commands by themselves: ``python -m runbook.lab up``."""

from runbook.lab.cli import main

if __name__ == "__main__":
    main()
