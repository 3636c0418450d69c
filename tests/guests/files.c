// Work for the file system, timed by phase.
//
//   files big PATH [MIB]       writes MIB (256) in blocks of 64 KiB, reads them back, removes the file
//   files small FOLDER [N]     creates, reads and removes N (2000) files of 100 bytes
//   files stat PATH [N]        asks N (20000) times what PATH is
//
// A line for each phase: its name, its size, its milliseconds. End 1 and a reason when anything fails.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 64 * 1024 };
static unsigned char block[BLOCK];

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void fail(const char *path) {
    perror(path);
    exit(1);
}

static void phase(const char *name, long size, double since) {
    printf("%s %ld %.3f ms\n", name, size, now_ms() - since);
}

static void big(const char *path, long mib) {
    long blocks = mib * (1 << 20) / BLOCK;
    double since = now_ms();
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (file < 0) fail(path);
    for (long i = 0; i < blocks; i++) {
        memset(block, (int)i, BLOCK);
        if (write(file, block, BLOCK) != BLOCK) fail(path);
    }
    if (close(file) != 0) fail(path);
    phase("write", mib, since);

    since = now_ms();
    file = open(path, O_RDONLY);
    if (file < 0) fail(path);
    for (long i = 0; i < blocks; i++) {
        long got = 0;
        while (got < BLOCK) {
            ssize_t part = read(file, block + got, (size_t)(BLOCK - got));
            if (part <= 0) fail(path);
            got += part;
        }
        if (block[0] != (unsigned char)i || block[BLOCK - 1] != (unsigned char)i) {
            fprintf(stderr, "%s: block %ld does not hold what was written\n", path, i);
            exit(1);
        }
    }
    close(file);
    phase("read", mib, since);
    if (unlink(path) != 0) fail(path);
}

static void small(const char *folder, long count) {
    char path[4096];
    double since = now_ms();
    for (long i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/small-%ld", folder, i);
        int file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
        if (file < 0) fail(path);
        if (write(file, block, 100) != 100) fail(path);
        if (close(file) != 0) fail(path);
    }
    phase("create", count, since);

    since = now_ms();
    for (long i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/small-%ld", folder, i);
        int file = open(path, O_RDONLY);
        if (file < 0) fail(path);
        if (read(file, block, BLOCK) != 100) fail(path);
        if (close(file) != 0) fail(path);
    }
    phase("read", count, since);

    since = now_ms();
    for (long i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/small-%ld", folder, i);
        if (unlink(path) != 0) fail(path);
    }
    phase("unlink", count, since);
}

static void stat_often(const char *path, long count) {
    struct stat found;
    double since = now_ms();
    for (long i = 0; i < count; i++)
        if (stat(path, &found) != 0) fail(path);
    phase("stat", count, since);
}

int main(int argc, char **argv) {
    const char *mode = argc > 2 ? argv[1] : "";
    long size = argc > 3 ? atol(argv[3]) : 0;
    if (strcmp(mode, "big") == 0) big(argv[2], size ? size : 256);
    else if (strcmp(mode, "small") == 0) small(argv[2], size ? size : 2000);
    else if (strcmp(mode, "stat") == 0) stat_often(argv[2], size ? size : 20000);
    else {
        fputs("usage: files big PATH [MIB] | small FOLDER [N] | stat PATH [N]\n", stderr);
        return 2;
    }
    return 0;
}
