// Burns a processor for ever: no call to the host, no memory, no end of its own.
int main(void) {
    volatile unsigned long turns = 0;
    for (;;) turns = turns + 1;
}
