"""The twins: slow, readable versions of what the native core does."""
