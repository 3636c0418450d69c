// Reads stdin to its end and writes the same to stdout; the count of bytes goes to stderr.
#include <stdio.h>
#include <unistd.h>

int main(void) {
    static char block[64 * 1024];
    unsigned long total = 0;
    ssize_t got;
    while ((got = read(0, block, sizeof block)) > 0) {
        for (ssize_t at = 0; at < got;) {
            ssize_t put = write(1, block + at, (size_t)(got - at));
            if (put < 0) {
                perror("stdout");
                return 1;
            }
            at += put;
        }
        total += (unsigned long)got;
    }
    if (got < 0) {
        perror("stdin");
        return 1;
    }
    fprintf(stderr, "%lu bytes\n", total);
    return 0;
}
