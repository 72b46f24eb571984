"""What a job will do and what it will cost, before it runs: workloads, one worker, autoscalers, prices."""
