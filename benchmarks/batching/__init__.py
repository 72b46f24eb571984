"""Many bundle threads with small bundles."""
