"""Pictures of equivalents, four ways, and whether they can be believed."""
