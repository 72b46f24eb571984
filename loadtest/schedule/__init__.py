"""When each message is due: shapes over time, traces, and the order of the payloads."""
