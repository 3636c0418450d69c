// The sieve of Eratosthenes, a byte a number: memory traffic with simple addresses.
//
//   sieve [LIMIT] [TIMES]    prints how many primes there are up to LIMIT; 8000000 and 48 when not given
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long primes_up_to(unsigned char *composite, long limit) {
    long count = 0;
    memset(composite, 0, (size_t)limit + 1);
    for (long n = 2; n <= limit; n++) {
        if (composite[n]) continue;
        count++;
        for (long multiple = n + n; multiple <= limit; multiple += n) composite[multiple] = 1;
    }
    return count;
}

int main(int argc, char **argv) {
    long limit = argc > 1 ? atol(argv[1]) : 8000000;
    int times = argc > 2 ? atoi(argv[2]) : 48;
    unsigned char *composite = limit < 2 ? NULL : malloc((size_t)limit + 1);
    long count = 0;
    if (composite == NULL) {
        fprintf(stderr, "sieve: no room for %ld numbers\n", limit);
        return 2;
    }
    for (int i = 0; i < times; i++) count = primes_up_to(composite, limit);
    printf("%ld primes up to %ld\n", count, limit);
    free(composite);
    return 0;
}
