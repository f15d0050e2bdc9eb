"""The embedded world: cartoon characters with exact labels, drawn from vectors at any size, deterministic from a seed."""
