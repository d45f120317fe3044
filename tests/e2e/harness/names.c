// Loaded into a server (LD_PRELOAD) it looks up names: those of the file that NAMES_FILE names, whose lines are a name, an
// address and after how many milliseconds that is known. Of all others the machine knows.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *restrict name, const char *restrict service, const struct addrinfo *restrict hints,
                struct addrinfo **restrict found) {
    lookup *machine = (lookup *)dlsym(RTLD_NEXT, "getaddrinfo");
    const char *path = getenv("NAMES_FILE");
    FILE *file = name && path ? fopen(path, "r") : NULL;
    if (!file)
        return machine(name, service, hints, found);
    char own[256], address[64];
    int milliseconds, known = 0;
    while (!known && fscanf(file, "%255s %63s %d", own, address, &milliseconds) == 3)
        known = strcmp(own, name) == 0;
    fclose(file);
    if (!known)
        return machine(name, service, hints, found);
    usleep(milliseconds * 1000);
    return machine(address, service, hints, found);
}
