"""The HTTP service: ``restore-sdk serve``, or :func:`restore_sdk.serve.app.create_app` for a server of your own.

Needs the extra ``serve``, but for :mod:`restore_sdk.serve.site`.
"""
