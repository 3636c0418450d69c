// The smallest program that says something: one line on stdout, end 0.
#include <stdio.h>

int main(void) {
    puts("hello");
    return 0;
}
