"""The connections between the supervisor and its Python children, without a server in between.

To a child: orders (`channel`, for a zygote) and, at its start, the descriptors that tie it to its manager (`links`). To
the supervisor: the state of each worker (`scoreboard`, in memory that all map), reports (`channel`), and the children's
log and output (`child_log`). `claims` decides which of the two has a job that was fetched and not begun. `lifeline`
ends a child that is busy with user code once the supervisor is gone.

Nothing here knows a pool or a job. Light, because zygotes and workers import it: no gevent, no psutil. Open
`links` first, then `scoreboard`.
"""
