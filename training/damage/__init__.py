"""The damage stage: a renderer of damaged prints, a small network that finds the damage, trainer and evaluation."""
