"""A process for each vCPU of a worker, beside one process for all."""
