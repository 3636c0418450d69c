// Compresses a generated text with bzip2 and takes it apart again, in memory.
//
//   bzip2-bench [MIB]    MIB = 8 when not given; a line for each direction with its milliseconds
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bzlib.h"

// bzlib built without stdio asks for this.
void bz_internal_error(int code) {
    fprintf(stderr, "bzip2-bench: internal error %d\n", code);
    abort();
}

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

// Words of uneven frequency with a number now and then: about as dense as a log file.
static void generate(char *text, unsigned size) {
    static const char *words[] = {"aril", "seed", "cover", "host", "guest", "limit", "grant", "kernel",
                                  "page", "fault", "memory", "instance", "start", "exit", "digest", "layer"};
    unsigned long long state = 42;
    unsigned at = 0;
    while (at < size) {
        char piece[32];
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        unsigned roll = (unsigned)(state >> 33);
        int length = roll % 7 == 0 ? snprintf(piece, sizeof piece, "%u\n", roll % 100000)
                                   : snprintf(piece, sizeof piece, "%s ", words[(roll / 7 % 16) & (roll / 112 % 16)]);
        for (int i = 0; i < length && at < size; i++) text[at++] = piece[i];
    }
}

int main(int argc, char **argv) {
    unsigned size = (unsigned)(argc > 1 ? atoi(argv[1]) : 8) << 20;
    unsigned room = size + size / 100 + 600, packed_size = room, unpacked_size = size;
    char *text = malloc(size), *packed = malloc(room), *unpacked = malloc(size);
    if (size == 0 || text == NULL || packed == NULL || unpacked == NULL) {
        fputs("bzip2-bench: no room\n", stderr);
        return 2;
    }
    generate(text, size);

    double since = now_ms();
    int code = BZ2_bzBuffToBuffCompress(packed, &packed_size, text, size, 9, 0, 0);
    if (code != BZ_OK) {
        fprintf(stderr, "bzip2-bench: compressing ended with %d\n", code);
        return 1;
    }
    printf("compress %u to %u bytes %.3f ms\n", size, packed_size, now_ms() - since);

    since = now_ms();
    code = BZ2_bzBuffToBuffDecompress(unpacked, &unpacked_size, packed, packed_size, 0, 0);
    if (code != BZ_OK || unpacked_size != size || memcmp(text, unpacked, size) != 0) {
        fprintf(stderr, "bzip2-bench: what came back is not what went in (%d)\n", code);
        return 1;
    }
    printf("decompress %.3f ms\n", now_ms() - since);
    free(unpacked);
    free(packed);
    free(text);
    return 0;
}
