"""Builds the engines of every recipe that this host can build. Needs the checkout; a target host does not."""
