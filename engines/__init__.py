"""A fleet of engines: builds every recipe that can be built on this host. Needs the checkout; a target host does not.

The recipes' home is ``restore_sdk/engines/targets``, from where the wheel carries them; ``targets`` is a link to it.
"""
