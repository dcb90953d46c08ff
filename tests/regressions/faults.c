/* Preloaded into the program under test: the FAULT_AT-th operation that changes a file goes wrong, as FAULT says.
 * kill: the process ends before it. torn: it ends after it, or when half is written. full: half is written, and from
 * then on no file grows. eio: it fails, once. The number of all operations is written to the file FAULT_COUNT. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_long seen;
static char ours[4096]; /* descriptors of files that are written */

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is(const char *fault) {
    const char *how = getenv("FAULT");
    return how && !strcmp(how, fault);
}

static void end(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* 0: goes on as usual. 1: fails with errno. 2: is to be done, and then the process ends. 3: half of it is done. */
static int fate(int grows) {
    const char *at = getenv("FAULT_AT");
    long n = atomic_fetch_add(&seen, 1) + 1, due = at ? atol(at) : 0;
    if (!due || n < due) return 0;
    if (is("full")) {
        errno = ENOSPC;
        return !grows ? 0 : n == due ? 3 : 1;
    }
    if (n > due) return 0;
    if (is("kill")) end();
    errno = EIO;
    return is("torn") ? 2 : 1;
}

#define CHANGE(grows, call, failed)          \
    do {                                     \
        int f = fate(grows);                 \
        if (f == 1 || f == 3) return failed; \
        __typeof__(call) result = call;      \
        if (f == 2) end();                   \
        return result;                       \
    } while (0)

static int opened(int fd) {
    if (fd >= 0 && fd < (int)sizeof ours) ours[fd] = 1;
    return fd;
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    if ((flags & O_ACCMODE) == O_RDONLY) return REAL(open64)(path, flags, mode);
    if (!(flags & O_CREAT)) return opened(REAL(open64)(path, flags, mode));
    CHANGE(1, opened(REAL(open64)(path, flags, mode)), -1);
}

int close(int fd) {
    if (fd >= 0 && fd < (int)sizeof ours) ours[fd] = 0;
    return REAL(close)(fd);
}

ssize_t write(int fd, const void *bytes, size_t n) {
    if (fd < 0 || fd >= (int)sizeof ours || !ours[fd]) return REAL(write)(fd, bytes, n);
    int f = fate(1);
    if (f == 1) return -1;
    size_t part = f && n > 1 ? n / 2 : n;
    ssize_t written = REAL(write)(fd, bytes, part);
    if (f == 2) end();
    return written;
}

int ftruncate64(int fd, off64_t n) { CHANGE(0, REAL(ftruncate64)(fd, n), -1); }
int fsync(int fd) { CHANGE(0, REAL(fsync)(fd), -1); }
int fdatasync(int fd) { CHANGE(0, REAL(fdatasync)(fd), -1); }
int rename(const char *from, const char *to) { CHANGE(1, REAL(rename)(from, to), -1); }
int unlink(const char *path) { CHANGE(0, REAL(unlink)(path), -1); }
int mkdir(const char *path, mode_t mode) { CHANGE(1, REAL(mkdir)(path, mode), -1); }

__attribute__((destructor)) static void count(void) {
    const char *path = getenv("FAULT_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%ld", atomic_load(&seen));
        fclose(file);
    }
}
