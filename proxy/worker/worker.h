/*
 * The unprivileged process that reads what the cage sends.
 *
 * Theory of operation. The supervisor forks and executes its own program again as "worker UID GID"
 * with the control socket as descriptor 3. The worker isolates itself first, says HELLO, and then
 * does what the messages of proxy/core/message.h say. START brings the sockets and makes the
 * threads; the first SWITCH makes them accept. The main thread only reads the control socket and
 * the threads' answers. A policy is compiled on a thread that lives just for that, so that no
 * connection waits for 100,000 rules. A message that is not legal now, a thread that cannot do what
 * it is told, and the end of the supervisor all end the process: the supervisor starts another one
 * and the kernel refuses everything meanwhile.
 */
#ifndef PROXY_WORKER_WORKER_H
#define PROXY_WORKER_WORKER_H

/* The first argument that makes the program a worker, and where its control socket is. */
#define WORKER_ARGUMENT "worker"
enum { WORKER_CONTROL_FD = 3 };

/* The arguments behind WORKER_ARGUMENT. Returns the exit status; complains on standard error. */
int worker_main(int argc, char **argv);

#endif
