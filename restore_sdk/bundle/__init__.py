"""The model bundle: a folder that holds everything a host needs to run the model."""

from restore_sdk.bundle.bundle import DEFAULT_BUNDLE, SHIPPED, Bundle

__all__ = ["DEFAULT_BUNDLE", "SHIPPED", "Bundle"]
