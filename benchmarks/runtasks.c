/* runtasks: libgearman's task set, to compare ours with.
 *
 *   cc -O2 -o runtasks runtasks.c -lgearman
 *   runtasks HOST PORT JOBS FUNCTION
 *
 * Adds JOBS foreground tasks, runs them all at once, and prints the seconds and the processor's seconds that it took.
 */
#include <libgearman/gearman.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static long completed;

static gearman_return_t complete(gearman_task_st *task) {
  (void)task;
  completed++;
  return GEARMAN_SUCCESS;
}

static double now(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  long jobs = atol(argv[3]);
  gearman_client_st *client = gearman_client_create(NULL);
  gearman_client_add_server(client, argv[1], (in_port_t)atoi(argv[2]));
  gearman_client_add_options(client, GEARMAN_CLIENT_FREE_TASKS);
  gearman_client_set_complete_fn(client, complete);
  double started = now(CLOCK_MONOTONIC);
  for (long i = 0; i < jobs; i++) {
    gearman_return_t rc;
    gearman_client_add_task(client, NULL, NULL, argv[4], NULL, "x", 1, &rc);
    if (rc != GEARMAN_SUCCESS) return 1;
  }
  gearman_return_t rc = gearman_client_run_tasks(client);
  double took = now(CLOCK_MONOTONIC) - started;
  if (rc != GEARMAN_SUCCESS || completed != jobs) {
    fprintf(stderr, "runtasks: %s, %ld of %ld complete\n", gearman_client_error(client), completed, jobs);
    return 1;
  }
  printf("s=%.6f cpu_s=%.6f\n", took, now(CLOCK_PROCESS_CPUTIME_ID));
  gearman_client_free(client);
  return 0;
}
