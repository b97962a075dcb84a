"""What operators see: metrics and the log.  They read the request's record, nothing else."""
