/* roundtrips: foreground jobs one at a time with libgearman, to compare our client with; and the worker for all clients.
 *
 *   cc -O2 -o roundtrips roundtrips.c -lgearman
 *   roundtrips client HOST PORT JOBS     prints the seconds that JOBS jobs of 100 bytes took
 *   roundtrips worker HOST PORT          echoes the workloads of the function roundtrip, for ever
 */
#include <libgearman/gearman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void *echo(gearman_job_st *job, void *context, size_t *size, gearman_return_t *rc) {
  (void)context;
  *size = gearman_job_workload_size(job);
  *rc = GEARMAN_SUCCESS;
  void *copy = malloc(*size ? *size : 1);
  memcpy(copy, gearman_job_workload(job), *size);
  return copy;
}

static int work(const char *host, int port) {
  gearman_worker_st *worker = gearman_worker_create(NULL);
  gearman_worker_add_server(worker, host, (in_port_t)port);
  gearman_worker_add_function(worker, "roundtrip", 0, echo, NULL);
  for (;;) gearman_worker_work(worker);
}

static int submit(const char *host, int port, long jobs) {
  char workload[100];
  memset(workload, 'x', sizeof workload);
  gearman_client_st *client = gearman_client_create(NULL);
  gearman_client_add_server(client, host, (in_port_t)port);
  double started = 0;
  for (long i = -100; i < jobs; i++) {
    if (i == 0) started = now();
    size_t size;
    gearman_return_t rc;
    void *result = gearman_client_do(client, "roundtrip", NULL, workload, sizeof workload, &size, &rc);
    if (rc != GEARMAN_SUCCESS || size != sizeof workload) {
      fprintf(stderr, "roundtrips: %s\n", gearman_client_error(client));
      return 1;
    }
    free(result);
  }
  printf("%.6f\n", now() - started);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 4 && !strcmp(argv[1], "worker")) return work(argv[2], atoi(argv[3]));
  if (argc == 5 && !strcmp(argv[1], "client")) return submit(argv[2], atoi(argv[3]), atol(argv[4]));
  return 2;
}
