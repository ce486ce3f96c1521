"""A papermill engine that tells the truth about a run; papermill knows it as ``runbook``.

``papermill --engine runbook notebooks/20_traefik.ipynb out.ipynb -p site parameters/lab.yml``
"""

from __future__ import annotations


def __getattr__(name: str) -> object:
    # papermill loads its engines at the end of its own import, so it asks this module for its
    # engine before the import below has come back.
    if name == "HonestEngine":
        from runbook.run.papermill import engine

        return engine.HonestEngine
    raise AttributeError(name)


import papermill.engines  # noqa: E402, F401

from runbook.run.papermill.engine import HonestEngine  # noqa: E402

__all__ = ["HonestEngine"]
