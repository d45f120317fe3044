// Loaded into a server (LD_PRELOAD) it is the disk: full, while the file says so that DISK_FILE names. A full disk takes what
// has its place already, and lets no file grow.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static volatile const char *full;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("DISK_FILE");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *memory = mmap(NULL, 1, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (memory != MAP_FAILED)
        full = memory;
}

static int grows(int file, off_t end) {
    struct stat now;
    return full && *full && fstat(file, &now) == 0 && S_ISREG(now.st_mode) && end > now.st_size;
}

static size_t length(const struct iovec *parts, int count) {
    size_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += parts[i].iov_len;
    return sum;
}

#define NEXT(name) \
    static __typeof__(&name) next; \
    if (!next) \
        next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) {
    NEXT(pwrite);
    if (grows(file, at + count)) {
        errno = ENOSPC;
        return -1;
    }
    return next(file, bytes, count, at);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off_t at) {
    return pwrite(file, bytes, count, at);
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t at) {
    NEXT(pwritev);
    if (grows(file, at + length(parts, count))) {
        errno = ENOSPC;
        return -1;
    }
    return next(file, parts, count, at);
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off_t at) {
    return pwritev(file, parts, count, at);
}

int posix_fallocate(int file, off_t at, off_t count) {
    NEXT(posix_fallocate);
    return grows(file, at + count) ? ENOSPC : next(file, at, count);
}

int posix_fallocate64(int file, off_t at, off_t count) {
    return posix_fallocate(file, at, count);
}
