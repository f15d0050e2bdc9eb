"""The embedded world: cartoon characters with exact labels, drawn from vectors at any size, exact from a seed."""
