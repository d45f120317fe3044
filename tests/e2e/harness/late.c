// Loaded into a server (LD_PRELOAD) it makes its background workers begin late: a second and a half after they are there the
// server makes them ignore SIGHUP, and by that forget one that has come meanwhile.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <unistd.h>

typedef int change(int, const struct sigaction *, struct sigaction *);

int sigaction(int number, const struct sigaction *restrict action, struct sigaction *restrict before) {
    change *machine = (change *)dlsym(RTLD_NEXT, "sigaction");
    if (number == SIGHUP && action && action->sa_handler == SIG_IGN)
        usleep(1500000);
    return machine(number, action, before);
}
