"""A folder of photographs: which photograph has which mask, what was done already, and doing the rest.

``jobs`` pairs files, ``work`` restores one pair, ``ledger`` publishes results and remembers them, ``batch`` runs it
all, ``progress`` shows how far it is.
"""
