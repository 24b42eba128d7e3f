"""The job servers of this manager: the bundled one, which it starts, and others, to which it only connects.

In: the configuration and the functions that run. Out: a running server, the addresses for the workers, the file of the
server's policies, connections, and sentences on settings that do not hold on a foreign server.

`job_servers` is what the manager asks. `bundled` starts our own server anew when it dies, each time as a
`server_process`; `policies` writes its rules for each function. `connection` connects to any of them; `tls_checks`,
`policy_gaps` and `policy_gap_check` find the settings that do not hold. The server's code is never imported: it runs in
another process. Open `job_servers` first.
"""
