"""The command line, ``captum-sing``."""

from captum_sing.cli.app import app, main

__all__ = ["app", "main"]
