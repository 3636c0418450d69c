// Does nothing, and ends well: what a start alone costs.
int main(void) {
    return 0;
}
