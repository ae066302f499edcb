"""Planted truths against what is found: ``python -m captum_sing.demo.benchmark``."""

from __future__ import annotations

from captum_sing.benchmark import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
