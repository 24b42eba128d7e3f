"""The job servers of this manager: the bundled one, which it starts, and others, to which it only connects.

In: the configuration and the functions that run. Out: a running server with its addresses, the file of its policies,
connections, and sentences on settings that do not hold on a foreign server.

`bundled` starts, feeds and stops our own server; `policies` writes its rules for each function. `connection` connects
to any of them; `tls_checks`, `policy_gaps` and `policy_gap_check` find these settings. The server's code is never
imported: it runs in another process. Open `bundled` first.
"""
