// The spectral norm of the matrix A(i,j) = 1 / ((i+j)(i+j+1)/2 + i+1), by ten power steps: division and
// floating-point addition in tight loops.
//
//   spectral [N]    prints the norm for an N by N corner; N = 4500 when not given
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static double cell(int row, int column) {
    int diagonal = row + column;
    return 1.0 / (diagonal * (diagonal + 1) / 2 + row + 1);
}

static void times(int n, const double *in, double *out) {
    for (int row = 0; row < n; row++) {
        double sum = 0;
        for (int column = 0; column < n; column++) sum += cell(row, column) * in[column];
        out[row] = sum;
    }
}

static void times_transposed(int n, const double *in, double *out) {
    for (int column = 0; column < n; column++) {
        double sum = 0;
        for (int row = 0; row < n; row++) sum += cell(row, column) * in[row];
        out[column] = sum;
    }
}

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 4500;
    double *u = n < 1 ? NULL : malloc(3 * sizeof(double) * (size_t)n);
    if (u == NULL) {
        fprintf(stderr, "spectral: no room for N = %d\n", n);
        return 2;
    }
    double *v = u + n, *between = v + n, uv = 0, vv = 0;

    for (int i = 0; i < n; i++) u[i] = 1;
    for (int step = 0; step < 10; step++) {
        times(n, u, between);
        times_transposed(n, between, v);
        times(n, v, between);
        times_transposed(n, between, u);
    }
    for (int i = 0; i < n; i++) {
        uv += u[i] * v[i];
        vv += v[i] * v[i];
    }
    printf("%.9f\n", sqrt(uv / vv));
    free(u);
    return 0;
}
