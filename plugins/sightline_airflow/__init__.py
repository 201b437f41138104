"""What the DAGs are made of: every job's command line, and the operators that run it as a pod or as a local process."""
