"""job_servers."""
