"""Baselines: what a playground's own servers held at one moment, kept as images."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """placeholder"""
