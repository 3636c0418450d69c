// The floor of `aril run`: what it asks of the kernel, in its order, and nothing else.
//
//   calls GUEST MACHINE_CODE EMPTY GROUP
//
// GUEST, MACHINE_CODE and EMPTY are the files that a start opens. GROUP is a folder of the hierarchy of
// memory (v1) in which a control group is made, or `none`. This process is the keeper; a copy of it is
// the worker, which walls itself in, maps the machine code, says a line, and ends. Taken from
// `strace -f aril run hello.wasm`: what the C library does by itself at a start is not repeated, and what
// is asked again and again of one kind is a loop. No call may fail.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FILTER = 326, ORDER = 708, READY = 899, ENDED = 391 };
static char buffer[4096];

// What came back, which must be no failure.
static long ok_at(long came, int line) {
    if (came < 0) {
        char text[64];
        int size = snprintf(text, sizeof text, "calls.c:%d: errno %d\n", line, errno);
        if (write(2, text, (size_t)size) < 0) _exit(3);
        _exit(2);
    }
    return came;
}
#define ok(call) ok_at((long)(call), __LINE__)

static void handler(int signal) { _exit(128 + signal); }

// What the standard library of Rust does before `main`, in both processes.
static void begin(void) {
    struct pollfd streams[3] = {{0, 0, 0}, {1, 0, 0}, {2, 0, 0}};
    ok(poll(streams, 3, 0));
    signal(SIGPIPE, SIG_IGN);
    int maps = (int)ok(open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
    struct stat found;
    ok(fstat(maps, &found));
    ok(read(maps, buffer, 1024));
    ok(close(maps));
    cpu_set_t processors;
    ok(sched_getaffinity(0, sizeof processors, &processors));
    stack_t stack = {0};
    ok(sigaltstack(NULL, &stack));
    char *memory = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ok(mprotect(memory, 4096, PROT_NONE));
    stack.ss_sp = memory + 4096;
    stack.ss_size = 12288;
    stack.ss_flags = 0;
    ok(sigaltstack(&stack, NULL));
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    ok(sigaction(SIGSEGV, &action, NULL));
    ok(sigaction(SIGBUS, &action, NULL));
}

// Reads a message: its size, and the rest. Where nothing is there yet, waits for it.
static void receive(int channel, int epoll, size_t size) {
    while (read(channel, buffer, 4) != 4) {
        struct epoll_event event;
        if (errno != EAGAIN) _exit(2);
        ok(epoll_wait(epoll, &event, 1, 60000));
    }
    ok(read(channel, buffer, size));
}

static void put(const char *path, const char *text) {
    int file = (int)ok(open(path, O_WRONLY | O_CLOEXEC));
    ok(write(file, text, strlen(text)));
    ok(close(file));
}

// -- The worker ---------------------------------------------------------------------------------------

static void look_at(int directory) {
    struct stat found;
    struct statx more;
    ok(fstat(directory, &found));
    ok(statx(directory, "", AT_EMPTY_PATH, STATX_MNT_ID, &more));
}

// Has the empty directory, and what leads to it as a path alone, be in a mount of its own.
static void seclude(int empty, int opened) {
    struct stat found;
    for (int i = 0; i < 2; i++) look_at(empty);
    int list = (int)ok(open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ok(fstat(list, &found));
    while (ok(syscall(SYS_getdents64, list, buffer, sizeof buffer)) > 0) {}
    ok(close(list));
    char path[64], target[4096];
    snprintf(path, sizeof path, "/proc/self/fd/%d", empty);
    target[ok(readlink(path, target, sizeof target - 1))] = 0;
    int tree = (int)ok(syscall(SYS_open_tree, AT_FDCWD, target, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW));
    look_at(tree);
    look_at(empty);
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC};
    ok(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes));
    for (int number = 0; number <= tree; number++) {
        if (number == empty || number == opened || number == tree) look_at(number);
        else if (fstat(number, &found) < 0) continue;
        if (number != empty && number != opened) continue;
        ok(fcntl(number, F_GETFL));
        int same = (int)ok(number == opened ? fcntl(tree, F_DUPFD_CLOEXEC, 3) : openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        ok(dup3(same, number, O_CLOEXEC));
        ok(close(same));
    }
    ok(close(tree));
}

static void enter(int empty, int opened) {
    for (int i = 0; i < 2; i++) {
        ok(geteuid());
        ok(getegid());
    }
    ok(unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER));
    put("/proc/self/setgroups", "deny");
    put("/proc/self/uid_map", "0 0 1");
    put("/proc/self/gid_map", "0 0 1");
    ok(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    seclude(empty, opened);
    ok(mount("aril", "/", "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,nr_inodes=2,mode=555"));
    ok(chdir("/.."));
    ok(chroot("."));
    ok(chdir("/"));
    ok(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    for (int capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0; capability++) {}
    ok(prctl(PR_SET_SECUREBITS, 0xef, 0, 0, 0));
    ok(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0}};
    ok(syscall(SYS_capset, &head, none));
    struct rlimit nothing = {0, 0};
    ok(setrlimit(RLIMIT_CORE, &nothing));
    ok(setrlimit(RLIMIT_MSGQUEUE, &nothing));
    ok(setrlimit(RLIMIT_MEMLOCK, &nothing));
    ok(syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION));
    struct landlock_ruleset_attr rules = {.handled_access_fs = 0x1fff};
    int ruleset = (int)ok(syscall(SYS_landlock_create_ruleset, &rules, sizeof rules.handled_access_fs, 0));
    struct stat found;
    ok(fstat(empty, &found));
    ok(fstat(empty, &found));
    struct landlock_path_beneath_attr rule = {
        .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR, .parent_fd = empty};
    ok(syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0));
    ok(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    ok(syscall(SYS_landlock_restrict_self, ruleset, 0));
    ok(close(ruleset));
    ok(prctl(PR_SET_PDEATHSIG, SIGKILL));
    ok(prctl(PR_SET_DUMPABLE, 0));
}

static void seal(int leash) {
    ok(fcntl(leash, F_SETOWN, getpid()));
    ok(fcntl(leash, F_SETSIG, SIGKILL));
    ok(fcntl(leash, F_SETFL, O_ASYNC | O_NONBLOCK));
    if (read(leash, buffer, 1) != -1) _exit(2);
    struct rlimit found;
    ok(getrlimit(RLIMIT_NOFILE, &found));
    found.rlim_cur = 1088;
    ok(setrlimit(RLIMIT_NOFILE, &found));
    ok(getrlimit(RLIMIT_DATA, &found));
    found.rlim_cur = 1280UL << 20;
    ok(setrlimit(RLIMIT_DATA, &found));
    struct rlimit nothing = {0, 0};
    ok(getrlimit(RLIMIT_CORE, &found));
    ok(setrlimit(RLIMIT_CORE, &nothing));
    ok(setrlimit(RLIMIT_NPROC, &nothing));
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    ok(sigaction(SIGSYS, &action, NULL));
    // As long as the list of calls is, which is searched by halves; here all of them are allowed.
    static struct sock_filter filter[FILTER];
    for (int i = 0; i < FILTER - 1; i++) filter[i] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0);
    filter[8] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[FILTER - 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {FILTER, filter};
    ok(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program));
}

// What is open in the worker: its channel, what it is given, and perhaps the way into its group.
enum { CHANNEL = 3, CODE, FIGURES, INPUT, EMPTY, LEASH, TRAPPED, DOOR };

// What a copy of the keeper does before it is needed.
static void wait_for_work(int channel) {
    ok(getrandom(buffer, 16, 0));
    if (channel != CHANNEL) ok(dup3(channel, CHANNEL, O_CLOEXEC));
    ok(close_range(CHANNEL + 1, ~0U, 0));
    ok(chdir("/"));
    sigset_t none;
    sigemptyset(&none);
    ok(sigprocmask(SIG_SETMASK, &none, NULL));
    int ignored[5] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGXFSZ};
    for (int i = 0; i < 5; i++) signal(ignored[i], SIG_IGN);
    ok(prctl(PR_SET_NAME, "calls-worker"));
    ok(getrandom(buffer, 16, GRND_INSECURE));
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK | SA_NODEFER};
    ok(sigaction(SIGSEGV, &action, NULL));
    ok(sigaction(SIGILL, &action, NULL));
    ok(sigaction(SIGFPE, &action, NULL));
    union { struct cmsghdr head; char room[CMSG_SPACE(8 * sizeof(int))]; } handles;
    struct iovec bytes = {buffer, 4};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &handles, .msg_controllen = sizeof handles};
    if (ok(recvmsg(CHANNEL, &message, MSG_CMSG_CLOEXEC)) != 4) _exit(2);
    int nothing = CODE + buffer[0];
    ok(dup2(nothing, 0));
    ok(close(nothing));
}

static int worker(int far) {
    wait_for_work(far);
    int count = buffer[0], channel = CHANNEL, code = CODE, figures = FIGURES, input = INPUT, empty = EMPTY;
    int leash = LEASH, trapped = TRAPPED, door = count == 7 ? DOOR : -1, signal_at_end;
    receive(channel, -1, ORDER);
    struct stat found;
    ok(prctl(PR_SET_PDEATHSIG, SIGKILL));
    ok(getppid());
    ok(close_range((unsigned)(CODE + count), ~0U, 0));
    for (int given = CODE; given <= TRAPPED; given++) {
        ok(fcntl(given, F_GETFD));
        ok(fcntl(given, F_SETFD, FD_CLOEXEC));
    }
    if (door >= 0) {
        ok(fcntl(door, F_GETFD));
        ok(fcntl(door, F_SETFD, FD_CLOEXEC));
        ok(write(door, "0", 1));
        ok(close(door));
    }
    ok(fstat(figures, &found));
    ok(mmap(NULL, 256, PROT_READ | PROT_WRITE, MAP_SHARED, figures, 0) == MAP_FAILED ? -1 : 0);
    ok(close(figures));
    struct rlimit limit;
    ok(getrlimit(RLIMIT_NOFILE, &limit));
    ok(fstat(code, &found));
    size_t size = (size_t)found.st_size;
    char *machine = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, code, 0);
    ok(machine == MAP_FAILED ? -1 : 0);
    ok(mprotect(machine, size, PROT_READ));
    ok(mprotect(machine + 4096, 8192, PROT_READ | PROT_EXEC));
    ok(getrandom(buffer, 32, 0));
    snprintf(buffer, sizeof buffer, "/proc/self/fd/%d", empty);
    int opened = (int)ok(open(buffer, O_PATH | O_DIRECTORY | O_CLOEXEC));
    ok(prctl(PR_GET_PDEATHSIG, &signal_at_end));
    enter(empty, opened);
    seal(leash);
    ok(write(channel, buffer, READY + 4));
    char *memory = mmap(NULL, 4362076160UL, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ok(memory == MAP_FAILED ? -1 : 0);
    ok(mprotect(memory + (32UL << 20), 1114112, PROT_READ | PROT_WRITE));
    char *start = memory + (33UL << 20);
    ok(mmap(start, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, code, 0) == MAP_FAILED ? -1 : 0);
    char *stack = mmap(NULL, 2101248, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ok(mprotect(stack + 4096, 2097152, PROT_READ | PROT_WRITE));
    char *signals = mmap(NULL, 266240, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ok(mprotect(signals + 4096, 262144, PROT_READ | PROT_WRITE));
    stack_t alternative = {.ss_sp = signals + 4096, .ss_size = 262144};
    ok(sigaltstack(&alternative, NULL));
    for (int stream = 1; stream < 3; stream++) (void)isatty(stream);
    ok(write(1, "hello\n", 6));
    ok(write(channel, buffer, ENDED + 4));
    ok(close(input));
    ok(close(trapped));
    ok(close(empty));
    _exit(0);
}

// -- The keeper ---------------------------------------------------------------------------------------

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = fd};
    ok(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

static void read_whole(const char *path) {
    int file = (int)ok(open(path, O_RDONLY | O_CLOEXEC));
    while (ok(read(file, buffer, sizeof buffer)) > 0) {}
    ok(close(file));
}

// Reads a file of a group to its end.
static void look_into_open(int file) {
    long size = ok(pread(file, buffer, sizeof buffer, 0));
    ok(pread(file, buffer, sizeof buffer, size));
    ok(close(file));
}

static void look_into(int group, const char *name) {
    look_into_open((int)ok(openat(group, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)));
}

static void set_limit(int group, const char *name) {
    int file = (int)ok(openat(group, name, O_RDWR | O_TRUNC | O_NOFOLLOW | O_CLOEXEC));
    ok(write(file, "1082130432", 10));
    look_into_open(file);
}

// Gives the worker what is open, and how much that is.
static void give(int channel, const int *given, int count, int nothing) {
    union { struct cmsghdr head; char room[CMSG_SPACE(8 * sizeof(int))]; } handles;
    int size = (count + 1) * (int)sizeof(int);
    handles.head = (struct cmsghdr){.cmsg_len = CMSG_LEN((size_t)size), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&handles.head), given, (size_t)count * sizeof(int));
    memcpy(CMSG_DATA(&handles.head) + (size_t)count * sizeof(int), &nothing, sizeof nothing);
    char said[4] = {(char)count, 1, 0, 0};
    struct iovec bytes = {said, sizeof said};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &handles,
        .msg_controllen = CMSG_SPACE((size_t)size)};
    ok(sendmsg(channel, &message, MSG_NOSIGNAL));
}

int main(int count, char **words) {
    if (count != 5) return 2;
    const char *guest = words[1], *machine_code = words[2], *empty_path = words[3], *parent = words[4];
    begin();
    ok(close_range(3, ~0U, 0));
    struct stat found;
    ok(stat("/proc/self/task", &found));
    int channel[2];
    ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel));
    pid_t child = (pid_t)ok(fork());
    if (child == 0) {
        ok(close(channel[0]));
        return worker(channel[1]);
    }
    ok(close(channel[1]));
    for (int i = 0; i < 5; i++) {
        ok(lstat(empty_path, &found));
        ok(geteuid());
    }
    ok(getrandom(buffer, 16, GRND_INSECURE));
    (void)isatty(2);
    ok(close((int)ok(syscall(SYS_pidfd_open, getpid(), 0))));
    int program = (int)ok(open(guest, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
    ok(fstat(program, &found));
    int index = (int)ok(open(guest, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
    ok(fstat(index, &found));
    ok(geteuid());
    ok(read(index, buffer, 128));
    ok(read(index, buffer, 44));
    ok(close(index));
    int code = (int)ok(open(machine_code, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
    ok(fstat(code, &found));
    ok(geteuid());
    ok(lseek(code, found.st_size - 96, SEEK_SET));
    ok(read(code, buffer, 96));
    ok(chdir("/"));
    ok(close((int)ok(syscall(SYS_pidfd_open, getpid(), 0))));
    sigset_t asks;
    sigemptyset(&asks);
    int blocked[6] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXCPU, SIGXFSZ};
    for (int i = 0; i < 6; i++) sigaddset(&asks, blocked[i]);
    ok(sigprocmask(SIG_BLOCK, &asks, NULL));
    int epoll = (int)ok(epoll_create1(EPOLL_CLOEXEC));
    int event = (int)ok(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    watch(epoll, event);
    int same = (int)ok(fcntl(epoll, F_DUPFD_CLOEXEC, 3));
    int pair[2];
    ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair));
    int second = (int)ok(fcntl(pair[0], F_DUPFD_CLOEXEC, 3));
    watch(same, second);
    int signals = (int)ok(signalfd(-1, &asks, SFD_CLOEXEC | SFD_NONBLOCK));
    watch(same, signals);
    read_whole("/proc/self/mountinfo");
    read_whole("/proc/self/cgroup");
    struct rlimit limit;
    ok(getrlimit(RLIMIT_NOFILE, &limit));
    int figures = (int)ok(memfd_create("calls", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ok(ftruncate(figures, 256));
    ok(fcntl(figures, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW));
    ok(fstat(figures, &found));
    char *page = mmap(NULL, 256, PROT_READ | PROT_WRITE, MAP_SHARED, figures, 0);
    ok(page == MAP_FAILED ? -1 : 0);
    int input[2];
    ok(pipe2(input, O_CLOEXEC));
    int base = -1, group = -1;
    char name[64];
    if (strcmp(parent, "none") != 0) {
        base = (int)ok(open(parent, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_DIRECTORY));
        struct statfs system;
        ok(fstatfs(base, &system));
        ok(faccessat(base, ".", W_OK, 0));
        ok(faccessat(base, "cgroup.procs", W_OK, 0));
        ok(stat("/proc/self/ns/pid", &found));
        read_whole("/proc/self/stat");
        int list = (int)ok(openat(base, ".", O_RDONLY | O_CLOEXEC | O_DIRECTORY));
        while (ok(syscall(SYS_getdents64, list, buffer, 1536)) > 0) {}
        ok(close(list));
        snprintf(name, sizeof name, "calls-%d", getpid());
        ok(mkdirat(base, name, 0755));
        group = (int)ok(openat(base, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_DIRECTORY));
        look_into(group, "memory.memsw.limit_in_bytes");
        look_into(group, "memory.limit_in_bytes");
        set_limit(group, "memory.limit_in_bytes");
    }
    int leash[2], trapped[2], yes = 1;
    int shared = (int)ok(fcntl(input[0], F_DUPFD_CLOEXEC, 3));
    int empty = (int)ok(open(empty_path, O_RDONLY | O_CLOEXEC | O_DIRECTORY));
    ok(pipe2(leash, O_CLOEXEC));
    ok(pipe2(trapped, O_CLOEXEC));
    ok(ioctl(trapped[0], FIONBIO, &yes));
    int nothing = (int)ok(open("/dev/null", O_RDWR | O_CLOEXEC));
    int given[7] = {code, figures, shared, empty, leash[0], trapped[1]};
    if (group >= 0) given[6] = (int)ok(openat(group, "tasks", O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
    give(channel[0], given, group >= 0 ? 7 : 6, nothing);
    ok(ioctl(channel[0], FIONBIO, &yes));
    watch(same, channel[0]);
    int held = (int)ok(syscall(SYS_pidfd_open, child, O_NONBLOCK));
    watch(same, held);
    ok(close(nothing));
    ok(send(channel[0], buffer, ORDER + 4, MSG_NOSIGNAL));
    if (group >= 0) ok(close(given[6]));
    ok(close(trapped[1]));
    ok(close(leash[0]));
    ok(close(empty));
    ok(close(shared));
    receive(channel[0], epoll, READY);
    clockid_t clock;
    struct timespec used;
    ok(-clock_getcpuclockid(child, &clock));
    ok(clock_gettime(clock, &used));
    ok(close(figures));
    ok(close(code));
    receive(channel[0], epoll, ENDED);
    struct pollfd ended = {held, POLLIN, 0};
    while (ok(poll(&ended, 1, 60000)) != 1) {}
    ok(clock_gettime(clock, &used));
    siginfo_t end;
    ok(waitid(P_PIDFD, (id_t)held, &end, WEXITED));
    const char *counts[4] = {"memory.stat", "memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.limit_in_bytes"};
    for (int i = 0; group >= 0 && i < 4; i++) look_into(group, counts[i]);
    ok(epoll_ctl(same, EPOLL_CTL_DEL, channel[0], NULL));
    ok(close(channel[0]));
    ok(close(trapped[0]));
    ok(munmap(page, 256));
    ok(close(input[0]));
    ok(close(input[1]));
    ok(epoll_ctl(same, EPOLL_CTL_DEL, held, NULL));
    ok(close(held));
    ok(close(leash[1]));
    if (group >= 0) {
        ok(unlinkat(base, name, AT_REMOVEDIR));
        ok(close(group));
        ok(close(base));
    }
    ok(epoll_ctl(same, EPOLL_CTL_DEL, signals, NULL));
    ok(close(signals));
    ok(close(epoll));
    ok(close(second));
    ok(close(same));
    ok(close(event));
    ok(sigprocmask(SIG_UNBLOCK, &asks, NULL));
    ok(close(program));
    return end.si_code == CLD_EXITED && end.si_status == 0 ? 0 : 2;
}
