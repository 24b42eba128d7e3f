/*
 * A client in C (libgearman). It prints a transcript that the clients in PHP and Perl print too, and nothing else:
 * `client PORT results|text [FUNCTION]`, `client PORT progress|failure|exception`, `client PORT background FILE`,
 * `client PORT queue|join FUNCTION`.
 */
#include <libgearman/gearman.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE_SIZE = 8, LARGE_SIZE = PIECE_SIZE << 17, POLL_MICROSECONDS = 5000 };

static const char piece[PIECE_SIZE] = "\0\001zero\377\n";

typedef void *do_function(gearman_client_st *, const char *, const char *, const void *, size_t, size_t *,
                          gearman_return_t *);

static gearman_client_st *connected(int port)
{
    gearman_client_st *client = gearman_client_create(NULL);
    if (client == NULL || gearman_failed(gearman_client_add_server(client, "127.0.0.1", (in_port_t)port))) {
        fputs("no client\n", stderr);
        exit(1);
    }
    return client;
}

static void print_shared_answer(gearman_client_st *client, const char *name, const char *function, const char *unique,
                                do_function *run)
{
    size_t size = 0;
    gearman_return_t code;
    char *result = run(client, function, unique, "Rasmus", strlen("Rasmus"), &size, &code);
    if (code == GEARMAN_SUCCESS)
        printf("%s: %.*s\n", name, (int)size, result);
    else
        printf("%s: %s\n", name, gearman_strerror(code));
    free(result);
}

static void print_answer(gearman_client_st *client, const char *name, const char *function, do_function *run)
{
    print_shared_answer(client, name, function, NULL, run);
}

static int is_reversed(const char *result, size_t size)
{
    if (result == NULL || size != LARGE_SIZE)
        return 0;
    for (size_t at = 0; at < size; at++)
        if (result[size - 1 - at] != piece[at % PIECE_SIZE])
            return 0;
    return 1;
}

static void print_large_answer(gearman_client_st *client, const char *function)
{
    static char workload[LARGE_SIZE];
    for (size_t at = 0; at < LARGE_SIZE; at++)
        workload[at] = piece[at % PIECE_SIZE];
    size_t size = 0;
    gearman_return_t code;
    char *result = gearman_client_do(client, function, NULL, workload, LARGE_SIZE, &size, &code);
    if (code == GEARMAN_SUCCESS && is_reversed(result, size))
        printf("large: %zu bytes reversed\n", size);
    else
        printf("large: wrong, %s\n", gearman_strerror(code));
    free(result);
}

static void text(int port, const char *function)
{
    gearman_client_st *client = connected(port);
    print_answer(client, "normal", function, gearman_client_do);
    print_answer(client, "high", function, gearman_client_do_high);
    print_answer(client, "low", function, gearman_client_do_low);
    gearman_client_free(client);
}

static void results(int port, const char *function)
{
    text(port, function);
    gearman_client_st *client = connected(port);
    print_large_answer(client, function);
    gearman_client_free(client);
}

static gearman_return_t on_status(gearman_task_st *task)
{
    printf("%u/%u\n", gearman_task_numerator(task), gearman_task_denominator(task));
    return GEARMAN_SUCCESS;
}

static gearman_return_t on_complete(gearman_task_st *task)
{
    printf("complete: %.*s\n", (int)gearman_task_data_size(task), (const char *)gearman_task_data(task));
    return GEARMAN_SUCCESS;
}

static gearman_return_t on_exception(gearman_task_st *task)
{
    printf("exception: %.*s\n", (int)gearman_task_data_size(task), (const char *)gearman_task_data(task));
    return GEARMAN_SUCCESS;
}

static void run_one_task(gearman_client_st *client, const char *function, const char *workload)
{
    gearman_return_t code;
    gearman_client_set_status_fn(client, on_status);
    gearman_client_set_complete_fn(client, on_complete);
    gearman_client_set_exception_fn(client, on_exception);
    gearman_client_add_task(client, NULL, NULL, function, NULL, workload, strlen(workload), &code);
    if (code == GEARMAN_SUCCESS)
        code = gearman_client_run_tasks(client);
    puts(code == GEARMAN_SUCCESS ? "all tasks ended" : gearman_strerror(code));
}

static void progress(int port)
{
    gearman_client_st *client = connected(port);
    run_one_task(client, "slow_reverse", "Rasmus");
    gearman_client_free(client);
}

static gearman_return_t failing_job(gearman_client_st *client)
{
    size_t size = 0;
    gearman_return_t code;
    free(gearman_client_do(client, "word_count", NULL, "\377", 1, &size, &code));
    return code;
}

static void failure(int port)
{
    gearman_client_st *plain = connected(port);
    gearman_return_t code = failing_job(plain);
    printf("plain: %s\n", code == GEARMAN_WORK_FAIL ? "failed" : gearman_strerror(code));
    print_answer(plain, "afterwards", "reverse", gearman_client_do);
    gearman_client_free(plain);
}

static void exception(int port)
{
    gearman_client_st *curious = connected(port);
    if (!gearman_client_set_server_option(curious, "exceptions", strlen("exceptions")))
        puts("the option exceptions was refused");
    run_one_task(curious, "word_count", "\377");
    gearman_return_t code = failing_job(curious);
    printf("blocking: %s\n", code == GEARMAN_WORK_EXCEPTION ? "exception" : gearman_strerror(code));
    gearman_client_free(curious);
}

/* The function `gate` reports 3 of 10 and then waits until the file that its workload names is there. */
static void background(int port, const char *file)
{
    gearman_client_st *client = connected(port);
    gearman_job_handle_t handle;
    bool known, running;
    uint32_t numerator, denominator;
    if (gearman_failed(gearman_client_do_background(client, "gate", NULL, file, strlen(file), handle)))
        puts(gearman_client_error(client));
    do {
        usleep(POLL_MICROSECONDS);
        gearman_client_job_status(client, handle, &known, &running, &numerator, &denominator);
    } while (!(known && running && numerator == 3 && denominator == 10));
    puts("running, 3/10");
    FILE *gate = fopen(file, "w");
    if (gate == NULL || fclose(gate) != 0)
        perror(file);
    do {
        usleep(POLL_MICROSECONDS);
        gearman_client_job_status(client, handle, &known, &running, &numerator, &denominator);
    } while (known);
    puts(running || numerator || denominator ? "unknown, but with a state" : "unknown");
    gearman_client_free(client);
}

typedef gearman_return_t background_function(gearman_client_st *, const char *, const char *, const void *, size_t, char *);

static void print_submission(gearman_client_st *client, const char *function, const char *name,
                             background_function *submit, char *handle)
{
    char unique[128];
    snprintf(unique, sizeof unique, "%s %s", function, name);
    gearman_job_handle_t before;
    memcpy(before, handle, sizeof before);
    if (gearman_failed(submit(client, function, unique, name, strlen(name), handle)))
        puts(gearman_client_error(client));
    if (strcmp(name, "normal") == 0)
        printf("normal: %s\n", strcmp(handle, before) == 0 ? "coalesced" : "created");
}

/* Four submissions that are three jobs, one in each queue. */
static void queue(int port, const char *function)
{
    gearman_client_st *client = connected(port);
    gearman_job_handle_t normal = "", other = "";
    print_submission(client, function, "low", gearman_client_do_low_background, other);
    print_submission(client, function, "normal", gearman_client_do_background, normal);
    print_submission(client, function, "high", gearman_client_do_high_background, other);
    print_submission(client, function, "normal", gearman_client_do_background, normal);
    gearman_client_free(client);
}

/* A job in the foreground, which others wait for too. */
static void join(int port, const char *function)
{
    char unique[128];
    snprintf(unique, sizeof unique, "%s shared", function);
    gearman_client_st *client = connected(port);
    print_shared_answer(client, "joined", function, unique, gearman_client_do);
    gearman_client_free(client);
}

int main(int count, char **arguments)
{
    if (count < 3)
        return 2;
    int port = atoi(arguments[1]);
    const char *mode = arguments[2];
    if (strcmp(mode, "results") == 0)
        results(port, count == 4 ? arguments[3] : "reverse");
    else if (strcmp(mode, "text") == 0 && count == 4)
        text(port, arguments[3]);
    else if (strcmp(mode, "join") == 0 && count == 4)
        join(port, arguments[3]);
    else if (strcmp(mode, "queue") == 0 && count == 4)
        queue(port, arguments[3]);
    else if (strcmp(mode, "progress") == 0)
        progress(port);
    else if (strcmp(mode, "failure") == 0)
        failure(port);
    else if (strcmp(mode, "exception") == 0)
        exception(port);
    else if (strcmp(mode, "background") == 0 && count == 4)
        background(port, arguments[3]);
    else
        return 2;
    return 0;
}
