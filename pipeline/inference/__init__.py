"""The model handlers; `handler.make_handler` chooses one."""
