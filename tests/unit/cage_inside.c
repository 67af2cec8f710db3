#include "tests/unit/cage_inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void report(const char *word, long result)
{
    printf("%s %s\n", word, result >= 0 ? "ok" : strerrorname_np(errno));
    fflush(stdout);
}

static void report_file(const char *path)
{
    char line[256];
    FILE *file = fopen(path, "r");

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        fputs(line, stdout);
    if (file != NULL)
        fclose(file);
}

static void inside_status(void)
{
    struct rlimit core;
    DIR *fds = opendir("/proc/self/fd");
    struct dirent *entry;

    report_file("/proc/self/status");
    while (fds != NULL && (entry = readdir(fds)) != NULL)
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(fds))
            printf("fd %s\n", entry->d_name);
    if (fds != NULL)
        closedir(fds);
    getrlimit(RLIMIT_CORE, &core);
    printf("core %lu\n", (unsigned long)core.rlim_max);
    printf("pid %d\n", (int)getpid());
    printf("session %d\n", getsid(0) == getpid());
    report("tty", open("/dev/tty", O_RDWR));
    report("holder", access("/proc/1", F_OK));
    report("kill-holder", kill(1, SIGKILL));
}

static void report_join(const char *word, int level, int option)
{
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    struct ipv6_mreq request = {.ipv6mr_multiaddr = {{{0xff, 0x02, [15] = 0x42}}}};

    report(word, syscall(SYS_setsockopt, fd, 0x100000000L | level, 0x100000000L | option, &request,
                         sizeof(request)));
    close(fd);
}

static void inside_filter(void)
{
    static const int families[] = {3, 4, 9, 15, 17, 21, 31, 38, 40, 43, 44, 45, 46, 255};
    int pair[2];
    char zeros[256] = {0};

    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        char word[32];
        snprintf(word, sizeof(word), "family-%d", families[i]);
        report(word, socket(families[i], SOCK_DGRAM, 0));
    }
    report("family-high", syscall(SYS_socket, 0x100000000L | AF_PACKET, SOCK_RAW, 0));
    report("family-pair", socketpair(AF_TIPC, SOCK_STREAM, 0, pair));
    report("unix", socket(AF_UNIX, SOCK_STREAM, 0));
    report("unix-pair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    report("inet", socket(AF_INET, SOCK_STREAM, 0));
    report("inet6", socket(AF_INET6, SOCK_STREAM, 0));
    report("inet-high", syscall(SYS_socket, 0x100000000L | AF_INET, SOCK_STREAM, 0));
    report("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
    report("raw", socket(AF_INET, SOCK_RAW, IPPROTO_TCP));
    report("smc", socket(AF_INET, SOCK_STREAM, 256));
    report("mptcp", socket(AF_INET, SOCK_STREAM, 262));
    report("io_uring_setup", syscall(SYS_io_uring_setup, 8, zeros));
    report("io_uring_enter", syscall(SYS_io_uring_enter, 0, 0, 0, 0, NULL, 0));
    report("io_uring_register", syscall(SYS_io_uring_register, 0, 0, NULL, 0));
    report("request_key", syscall(SYS_request_key, "user", "x", NULL, 0));
    report("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -2));
    report_join("join6", IPPROTO_IPV6, IPV6_JOIN_GROUP);
    report_join("join4", IPPROTO_IP, IP_ADD_MEMBERSHIP);
    report_join("join4-any", IPPROTO_IP, MCAST_JOIN_GROUP);
    report_join("join6-any", IPPROTO_IPV6, MCAST_JOIN_GROUP);
    report_join("anycast", IPPROTO_IPV6, IPV6_JOIN_ANYCAST);
}

static void inside_terminal(void)
{
    struct winsize size = {0};
    char typed = '\n';

    printf("isatty %d%d%d\n", isatty(0), isatty(1), isatty(2));
    printf("name %s\n", isatty(0) ? ttyname(0) : "none");
    ioctl(0, TIOCGWINSZ, &size);
    printf("size %dx%d\n", size.ws_row, size.ws_col);
    report("sti", ioctl(0, TIOCSTI, &typed));
    report("sti-high", syscall(SYS_ioctl, 0, 0x7700000000L | TIOCSTI, &typed));
    report("linux", ioctl(0, 0x541C, &typed));
    report("linux-high", syscall(SYS_ioctl, 0, 0x100000000L | 0x541C, &typed));
    report("tty", open("/dev/tty", O_RDWR));
}

static void nothing(int signal)
{
    (void)signal;
}

/* Says "ready", waits for a change of the window and tells the new size. */
static void inside_resize(void)
{
    struct winsize size = {0};
    sigset_t set;
    int signal_number;

    sigemptyset(&set);
    sigaddset(&set, SIGWINCH);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGWINCH, nothing);
    printf("ready\n");
    fflush(stdout);
    sigwait(&set, &signal_number);
    ioctl(0, TIOCGWINSZ, &size);
    printf("size %dx%d\n", size.ws_row, size.ws_col);
}

static int inside_connect(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    memcpy(to.sun_path, path, strlen(path));
    if (path[0] == '@')
        to.sun_path[0] = '\0';
    report("connect", connect(fd, (struct sockaddr *)&to, len));
    return 0;
}

/* A process of another session whose parents are gone; it holds standard output open. */
static void orphan_make(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        setsid();
        if (fork() == 0) {
            setsid();
            for (int i = 1; i < 32; i++)
                signal(i, SIG_IGN);
            printf("orphan up\n");
            fflush(stdout);
            for (;;)
                pause();
        }
        _exit(0);
    }
    waitpid(pid, NULL, 0);
}

/* A call by the numbers of another ABI; a kernel without i386 faults, and must not be caught. */
static void inside_foreign(const char *abi)
{
    signal(SIGSEGV, SIG_DFL);
#ifdef __x86_64__
    if (strcmp(abi, "i386") == 0)
        __asm__ volatile("int $0x80" : : "a"(20) : "memory");
    else
        syscall(0x40000000 + SYS_getpid);
#else
    (void)abi;
    kill(getpid(), SIGSYS);
#endif
}

static void inside_wait(void)
{
    printf("ready\n");
    fflush(stdout);
    for (;;)
        pause();
}

int cage_inside(char **argv)
{
    if (strcmp(argv[0], "status") == 0)
        inside_status();
    else if (strcmp(argv[0], "filter") == 0)
        inside_filter();
    else if (strcmp(argv[0], "terminal") == 0)
        inside_terminal();
    else if (strcmp(argv[0], "resize") == 0)
        inside_resize();
    else if (strcmp(argv[0], "connect") == 0)
        inside_connect(argv[1]);
    else if (strcmp(argv[0], "orphan") == 0)
        orphan_make();
    else if (strcmp(argv[0], "orphan-wait") == 0) {
        orphan_make();
        inside_wait();
    } else if (strcmp(argv[0], "wait") == 0)
        inside_wait();
    else if (strcmp(argv[0], "foreign") == 0)
        inside_foreign(argv[1]);
    else
        return 99;
    return 0;
}
