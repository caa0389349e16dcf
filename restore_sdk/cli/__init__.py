"""The command ``restore-sdk``: one file a command, :func:`restore_sdk.cli.main.main` is all of it."""
