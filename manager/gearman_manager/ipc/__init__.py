"""What passes between the supervisor and its Python children, without a server in between.

Down go orders (`channel`, to a zygote) and, at the start, the descriptors that tie a child to its manager (`links`). Up
come what each worker is doing (`scoreboard`, read from memory that all map), reports (`channel`) and what children log
or print (`child_log`). `lifeline` ends a child that is busy with user code once the supervisor is gone.

Nothing here knows a pool or a job. Light, because zygotes and workers import it: no gevent, no psutil. Open
`links` first, then `scoreboard`.
"""
