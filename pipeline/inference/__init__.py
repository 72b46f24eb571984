"""The Beam model handlers: over a model in the worker (`local`), and over an endpoint (`endpoint`)."""
