// Says one line, and sleeps: what a container has that does nothing.
#include <unistd.h>

int main(void) {
    if (write(1, "hello\n", 6) < 0) return 1;
    for (;;) pause();
}
