"""What the processes, the GPU and Google Cloud say of themselves during a run, as series of the raw log."""
