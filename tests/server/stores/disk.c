/* Stands between a server and its disk, by LD_PRELOAD.
 *
 * Each flush adds a byte to the file $DISK_FLUSHES. While the file $DISK_READ_ONLY exists its folder is read-only for
 * this process, as if the kernel had remounted the disk after an error: for files that are open already too, which no
 * mount can bring about as long as somebody writes there. What was written before can still be flushed. While the file
 * $DISK_FAILS exists files can be written and not flushed, as on a disk that breaks when the kernel writes to it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int is_below_read_only_folder(const char *path)
{
    const char *mark = getenv("DISK_READ_ONLY");
    if (mark == NULL || access(mark, F_OK) != 0)
        return 0;
    size_t folder_bytes = (size_t)(strrchr(mark, '/') - mark) + 1;
    return strncmp(path, mark, folder_bytes) == 0;
}

static int is_read_only(int descriptor)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t path_bytes = readlink(link, path, sizeof path - 1);
    if (path_bytes < 0)
        return 0;
    path[path_bytes] = '\0';
    return is_below_read_only_folder(path);
}

static int refuse(void)
{
    errno = EROFS;
    return -1;
}

static void count_flush(void)
{
    const char *path = getenv("DISK_FLUSHES");
    int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    ssize_t (*real_write)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    int counter = path == NULL ? -1 : real_open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (counter < 0)
        return;
    if (real_write(counter, "f", 1) != 1)
        abort();
    close(counter);
}

#define FLUSH(name)                                                     \
    int name(int descriptor)                                            \
    {                                                                   \
        int (*real)(int) = dlsym(RTLD_NEXT, #name);                     \
        const char *fails = getenv("DISK_FAILS");                       \
        count_flush();                                                  \
        if (fails == NULL || access(fails, F_OK) != 0)                  \
            return real(descriptor);                                    \
        errno = EIO;                                                    \
        return -1;                                                      \
    }

FLUSH(fsync)
FLUSH(fdatasync)

#define WRITE_AT(name, offset_type)                                                                      \
    ssize_t name(int descriptor, const void *data, size_t count, offset_type at)                         \
    {                                                                                                    \
        ssize_t (*real)(int, const void *, size_t, offset_type) = dlsym(RTLD_NEXT, #name);               \
        return is_read_only(descriptor) ? refuse() : real(descriptor, data, count, at);                  \
    }

WRITE_AT(pwrite, off_t)
WRITE_AT(pwrite64, off64_t)

ssize_t write(int descriptor, const void *data, size_t count)
{
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    return is_read_only(descriptor) ? refuse() : real(descriptor, data, count);
}

#define TRUNCATE(name, offset_type)                                               \
    int name(int descriptor, offset_type length)                                  \
    {                                                                             \
        int (*real)(int, offset_type) = dlsym(RTLD_NEXT, #name);                  \
        return is_read_only(descriptor) ? refuse() : real(descriptor, length);    \
    }

TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define OPEN(name)                                                                                          \
    int name(const char *path, int flags, ...)                                                              \
    {                                                                                                       \
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name);                                      \
        va_list arguments;                                                                                  \
        va_start(arguments, flags);                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;                        \
        va_end(arguments);                                                                                  \
        if ((flags & O_ACCMODE) != O_RDONLY && is_below_read_only_folder(path))                             \
            return refuse();                                                                                \
        return real(path, flags, mode);                                                                     \
    }

OPEN(open)
OPEN(open64)

int unlink(const char *path)
{
    int (*real)(const char *) = dlsym(RTLD_NEXT, "unlink");
    return is_below_read_only_folder(path) ? refuse() : real(path);
}
