"""Doors for other packages, none of which is needed here: what they call has their signature."""
