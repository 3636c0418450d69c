// Takes memory until it is told no, touching every page, then aborts.
//
//   hog [MIB]    takes at most MIB and ends 0; without it, takes for ever
//
// What it has is said on stderr at every 16 MiB, so that a killed one still tells how far it came.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A little less than 1 MiB: with the allocator's own words it fills one.
enum { BLOCK = (1 << 20) - 1024 };

int main(int argc, char **argv) {
    unsigned long most = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    unsigned long taken = 0;
    while (most == 0 || taken < most) {
        char *block = malloc(BLOCK);
        if (block == NULL) {
            fprintf(stderr, "refused after %lu MiB\n", taken);
            abort();
        }
        memset(block, 0x5a, BLOCK);
        // Nobody may decide that the block is never read.
        __asm__ volatile("" : : "r"(block) : "memory");
        if (++taken % 16 == 0) fprintf(stderr, "%lu MiB\n", taken);
    }
    printf("%lu MiB\n", taken);
    return 0;
}
