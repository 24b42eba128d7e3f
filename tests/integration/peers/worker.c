/*
 * A worker in C (libgearman): `worker PORT PREFIX COUNT` serves COUNT jobs of the functions PREFIX_reverse,
 * PREFIX_steps, PREFIX_fail and PREFIX_throw, and ends. It prints nothing.
 */
#include <libgearman/gearman.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int served = 0;

static gearman_return_t reverse(gearman_job_st *job, void *context)
{
    (void)context;
    const char *workload = gearman_job_workload(job);
    size_t size = gearman_job_workload_size(job);
    char *reversed = malloc(size);
    for (size_t at = 0; at < size; at++)
        reversed[at] = workload[size - 1 - at];
    gearman_return_t code = gearman_job_send_complete(job, reversed, size);
    free(reversed);
    served++;
    return code;
}

static gearman_return_t steps(gearman_job_st *job, void *context)
{
    (void)context;
    gearman_job_send_status(job, 1, 2);
    gearman_job_send_data(job, "\0piece", 6);
    gearman_job_send_warning(job, "careful", 7);
    gearman_job_send_status(job, 2, 2);
    served++;
    return gearman_job_send_complete(job, "done", 4);
}

static gearman_return_t fail(gearman_job_st *job, void *context)
{
    (void)job;
    (void)context;
    served++;
    return GEARMAN_FATAL;
}

static gearman_return_t throw(gearman_job_st *job, void *context)
{
    (void)context;
    char text[64];
    int size = snprintf(text, sizeof text, "no %.*s", (int)gearman_job_workload_size(job),
                        (const char *)gearman_job_workload(job));
    served++;
    return gearman_job_send_exception(job, text, (size_t)size);
}

static void define(gearman_worker_st *worker, const char *prefix, const char *name, gearman_function_fn *function)
{
    char full_name[64];
    int size = snprintf(full_name, sizeof full_name, "%s_%s", prefix, name);
    gearman_function_t definition = gearman_function_create(function);
    if (gearman_failed(gearman_worker_define_function(worker, full_name, (size_t)size, definition, 0, NULL)))
        puts(gearman_worker_error(worker));
}

int main(int count, char **arguments)
{
    if (count != 4)
        return 2;
    gearman_worker_st *worker = gearman_worker_create(NULL);
    gearman_worker_add_server(worker, "127.0.0.1", (in_port_t)atoi(arguments[1]));
    define(worker, arguments[2], "reverse", reverse);
    define(worker, arguments[2], "steps", steps);
    define(worker, arguments[2], "fail", fail);
    define(worker, arguments[2], "throw", throw);
    while (served < atoi(arguments[3])) {
        gearman_return_t code = gearman_worker_work(worker);
        if (code != GEARMAN_SUCCESS && code != GEARMAN_WORK_FAIL && code != GEARMAN_WORK_EXCEPTION)
            printf("%s: %s\n", gearman_strerror(code), gearman_worker_error(worker));
    }
    gearman_worker_free(worker);
    return 0;
}
