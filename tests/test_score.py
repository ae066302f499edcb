"""SINGScore is what SING.attribute says, with gradients, for every kind and baseline."""

from __future__ import annotations
