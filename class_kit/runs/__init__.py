"""Runs: notebooks executed with strict parameters, each leaving a record that says where its numbers come from."""

from __future__ import annotations

from class_kit.runs.run import RunResult, record, run_notebooks
from class_kit.runs.sweep import sweep_notebooks

__all__ = ["RunResult", "record", "run_notebooks", "sweep_notebooks"]
