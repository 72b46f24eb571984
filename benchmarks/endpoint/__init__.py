"""The handlers that call an endpoint."""
