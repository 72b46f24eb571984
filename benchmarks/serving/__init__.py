"""The container beside other model servers."""
