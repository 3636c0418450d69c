// A guest in C: prints its arguments, reads a file under /data, ends with the code it is asked for.
//
//   hello [NAME ...] [--read PATH] [--exit CODE]
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int print_file(const char *path) {
    char line[4096];
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    while (fgets(line, sizeof line, file) != NULL) fputs(line, stdout);
    return fclose(file) == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    int code = 0;
    puts("hello from C");
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--exit") == 0 && i + 1 < argc) code = atoi(argv[++i]);
        else if (strcmp(argv[i], "--read") == 0 && i + 1 < argc) {
            if (print_file(argv[++i]) != 0) return 1;
        } else printf("argument: %s\n", argv[i]);
    }
    return code;
}
