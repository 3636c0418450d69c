// Does nothing until it is told to end: what keeps a pod's namespaces. It is the first of its
// processes, so that the kernel lets no signal end it for which it has no handler, and the parent
// of those that lost theirs.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal) { _exit(signal == SIGTERM ? 0 : 1); }

static void bury(int signal) {
    (void)signal;
    while (waitpid(-1, 0, WNOHANG) > 0) {}
}

int main(void) {
    signal(SIGTERM, end);
    signal(SIGINT, end);
    signal(SIGCHLD, bury);
    for (;;) pause();
}
