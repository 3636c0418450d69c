// Tries one path, and says what came of it.
//
//   open PATH              prints what the file holds
//   open -w PATH TEXT      creates or empties the file and writes TEXT
//   open -a PATH TEXT      appends TEXT
//   open -l PATH           lists a directory, a name a line
//   open -u PATH           removes a file
//
// A refusal is one line on stderr (the path and the reason) and end 1; wrong use is end 2.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int refused(const char *path) {
    perror(path);
    return 1;
}

static int print(const char *path) {
    char block[4096];
    ssize_t got;
    int file = open(path, O_RDONLY);
    if (file < 0) return refused(path);
    while ((got = read(file, block, sizeof block)) > 0) fwrite(block, 1, (size_t)got, stdout);
    if (got < 0) return refused(path);
    return close(file) == 0 ? 0 : refused(path);
}

static int put(const char *path, const char *text, int how) {
    int file = open(path, O_WRONLY | O_CREAT | how, 0666);
    if (file < 0) return refused(path);
    if (write(file, text, strlen(text)) != (ssize_t)strlen(text)) return refused(path);
    return close(file) == 0 ? 0 : refused(path);
}

static int list(const char *path) {
    struct dirent *entry;
    DIR *folder = opendir(path);
    if (folder == NULL) return refused(path);
    while ((entry = readdir(folder)) != NULL) puts(entry->d_name);
    closedir(folder);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && argv[1][0] != '-') return print(argv[1]);
    if (argc == 4 && strcmp(argv[1], "-w") == 0) return put(argv[2], argv[3], O_TRUNC);
    if (argc == 4 && strcmp(argv[1], "-a") == 0) return put(argv[2], argv[3], O_APPEND);
    if (argc == 3 && strcmp(argv[1], "-l") == 0) return list(argv[2]);
    if (argc == 3 && strcmp(argv[1], "-u") == 0) return unlink(argv[2]) == 0 ? 0 : refused(argv[2]);
    fputs("usage: open PATH | -w PATH TEXT | -a PATH TEXT | -l PATH | -u PATH\n", stderr);
    return 2;
}
