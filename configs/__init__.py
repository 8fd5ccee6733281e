"""Every config that comes with mace-train; no code."""
