// Fannkuch-redux: for every permutation of 1..N, how often its head can be flipped down to 1.
//
//   fannkuch [N] [TIMES]    prints a checksum and the greatest number of flips; 10 and 4 when not given
#include <stdio.h>
#include <stdlib.h>

enum { MOST = 16 };

static int flips_of(const int *permutation, int n) {
    int deck[MOST], flips = 0;
    for (int i = 0; i < n; i++) deck[i] = permutation[i];
    for (int head = deck[0]; head != 0; head = deck[0]) {
        for (int low = 0, high = head; low < high; low++, high--) {
            int kept = deck[low];
            deck[low] = deck[high];
            deck[high] = kept;
        }
        flips++;
    }
    return flips;
}

static void fannkuch(int n, long *checksum, int *most) {
    // turned[i] counts how often the first i + 1 cards were rotated: an odometer over all permutations.
    int permutation[MOST], turned[MOST] = {0}, even = 1;
    *checksum = 0, *most = 0;
    for (int i = 0; i < n; i++) permutation[i] = i;

    for (;;) {
        int flips = flips_of(permutation, n);
        if (flips > *most) *most = flips;
        *checksum += even ? flips : -flips;
        even = !even;

        int place = 1;
        for (; place < n; place++) {
            int first = permutation[0];
            for (int i = 0; i < place; i++) permutation[i] = permutation[i + 1];
            permutation[place] = first;
            if (++turned[place] <= place) break;
            turned[place] = 0;
        }
        if (place == n) return;
    }
}

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 10, times = argc > 2 ? atoi(argv[2]) : 4, most = 0;
    long checksum = 0;
    if (n < 2 || n > MOST) {
        fprintf(stderr, "fannkuch: N is 2 to %d\n", MOST);
        return 2;
    }
    for (int i = 0; i < times; i++) fannkuch(n, &checksum, &most);
    printf("%ld\nPfannkuchen(%d) = %d\n", checksum, n, most);
    return 0;
}
