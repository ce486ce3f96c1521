"""Provoke races on one SSH connection: eight threads, a thousand rounds, one real sshd.

Every round logs in once and has all threads run a command at the same moment. It ends 1 at the
first round in which a command is lost. Run several at once to make the machine busy.

    .venv/bin/python benchmarks/soak.py
    .venv/bin/python benchmarks/soak.py --rounds 100
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "process"))

from servers import Client, Sshd, generate_key, run_sshd

from runbook.hosts.fleet import Fleet
from runbook.hosts.transcript import Transcript

THREADS = 8  # sshd's MaxSessions is 10


def main() -> None:
    """Run the rounds, and say how many went well."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=1000)
    rounds = options.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        client = Client(Path(folder))
        generate_key(client.key, "ed25519")
        server = run_sshd(client.folder, client.key.with_suffix(".pub"))
        client.known_hosts.write_text(server.known_as())
        try:
            for number in range(rounds):
                one_round(client, server, number)
        finally:
            server.process.terminate()
    print(f"{rounds} rounds of {THREADS} commands, none lost")


def one_round(client: Client, server: Sshd, number: int) -> None:
    """Log in, and run one command in every thread."""

    def ask(thread: int) -> str:
        return fleet["gateway"].run(["echo", f"{number}.{thread}"]).stdout

    site = client.site(f"Host gateway\n  Port {server.port}\n")
    with Fleet(site, Transcript(None)) as fleet, ThreadPoolExecutor(THREADS) as pool:
        expected = [f"{number}.{thread}\n" for thread in range(THREADS)]
        if list(pool.map(ask, range(THREADS))) != expected:
            raise SystemExit(f"round {number}: an answer went astray")


if __name__ == "__main__":
    main()
