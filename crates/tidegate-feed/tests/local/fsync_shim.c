/* What a power loss would leave: after each fsync of a store file, a copy of it as it was then. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void keep(int fd) {
    char link[64], path[PATH_MAX], part[PATH_MAX + 16], copy[PATH_MAX + 16], buffer[65536];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return;
    path[n] = 0;
    const char *name = strrchr(path, '/');
    if (!name || strncmp(name, "/tidegate.db", 12) != 0) return;
    snprintf(part, sizeof part, "%s.part", path);
    snprintf(copy, sizeof copy, "%s.synced", path);
    int in = open(path, O_RDONLY), out = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    while (in >= 0 && out >= 0 && (n = read(in, buffer, sizeof buffer)) > 0)
        if (write(out, buffer, n) != n) _exit(99);
    close(in);
    close(out);
    /* Killed before this, the sync has not been answered, and the older copy counts. */
    if (rename(part, copy) != 0) _exit(99);
}

int fsync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    int result = real(fd);
    if (result == 0) keep(fd);
    return result;
}

int fdatasync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    int result = real(fd);
    if (result == 0) keep(fd);
    return result;
}
