"""The job servers of this manager: the bundled ones, which it starts, and others, to which it only connects.

In: the configuration and the functions that run. Out: running servers, the addresses for the workers, the files of the
servers' policies, connections, and sentences on settings that do not hold on a foreign server.

The manager asks `job_servers`: open it first. `bundled` keeps one server of ours running, each run a `bundled_process`;
`policies_file` writes its rules for each function. `connection` connects to any server. `policy_gap_check` asks a
foreign one for its rules, and `policy_gaps` says which of our keys do not hold there; `tls_checks` looks at TLS files
before the start. `job_returns` gives back jobs that workers have fetched and not begun. The server's code is never
imported: it runs in another process.
"""
