#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "proxy/cli/commands.h"
#include "proxy/cli/options.h"
#include "proxy/core/log_line.h"
#include "proxy/core/sniff.h"

static const struct cli_command sniff_command = {
    .name = "sniff",
    .synopsis = "[FILE]",
    .doc = "Reads the first bytes of a connection from FILE or standard input and prints what the "
           "proxy would read from them, as one JSON object.",
    .options = NULL,
    .option_count = 0,
};

enum { SNIFF_BYTES_MAX = 1 << 20 };

static void print_text(struct span bytes)
{
    char data[2048];
    struct text text = TEXT_OF(data);

    log_line_string(&text, bytes, 1900);
    fputs(data, stdout);
}

static void print_name(const struct sniff *sniff)
{
    char data[NETADDR_TEXT_MAX];

    if (sniff->has_name) {
        print_text(hostname_span(&sniff->name));
    } else if (sniff->has_address) {
        netaddr_print(&sniff->address, data);
        print_text(span_of_text(data));
    } else {
        fputs("null", stdout);
    }
}

static void print_sniff(const struct sniff *sniff)
{
    const struct tls_hello *hello = sniff->hello;

    printf("{\"protocol\":\"%s\",\"name\":", sniff_protocol_text(sniff));
    print_name(sniff);
    if (sniff->has_port)
        printf(",\"port\":%u", sniff->port);
    else
        printf(",\"port\":null");
    printf(",\"alpn\":[");
    for (size_t i = 0; hello != NULL && i < hello->alpn_count; i++) {
        fputs(i > 0 ? "," : "", stdout);
        print_text(hello->alpn[i]);
    }
    printf("],\"ech\":%s,\"reason\":", hello != NULL && hello->has_ech ? "true" : "false");
    if (sniff->reason == REASON_ALLOWED)
        printf("null");
    else
        printf("\"%s\"", reason_token(sniff->reason));
    printf(",\"bytes_used\":%zu}\n", sniff->used);
}

/* Everything up to the end or the bound; a negative errno. */
static ssize_t read_all(int fd, uint8_t *out, size_t cap)
{
    size_t len = 0;

    while (len < cap) {
        ssize_t got = read(fd, out + len, cap - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        len += (size_t)got;
    }
    return (ssize_t)len;
}

static int sniff(const char *path)
{
    static uint8_t bytes[SNIFF_BYTES_MAX];
    static struct tls_hello_scratch scratch;
    struct tls_hello hello;
    struct sniff result;
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    ssize_t len = fd >= 0 ? read_all(fd, bytes, sizeof(bytes)) : -errno;

    if (fd > STDIN_FILENO)
        close(fd);
    if (len < 0) {
        fprintf(stderr, "cage-proxy sniff: %s: %s\n", path != NULL ? path : "standard input",
                strerror((int)-len));
        return EXIT_UNABLE;
    }
    sniff_read(span_of(bytes, (size_t)len), false, &scratch, &hello, &result);
    print_sniff(&result);
    return EXIT_DONE;
}

int cmd_sniff(int argc, char **argv)
{
    struct options options = options_start(&sniff_command, argc, argv);
    const char *path = NULL;
    const char *value;

    for (;;) {
        switch (options_next(&options, &value)) {
        case OPTIONS_OPERAND:
            if (path != NULL) {
                options_complain(&sniff_command, "one file at a time:", value);
                return EXIT_WRONG_USE;
            }
            path = value;
            break;
        case OPTIONS_END:
            return sniff(path);
        case OPTIONS_HELP:
            return EXIT_DONE;
        default:
            return EXIT_WRONG_USE;
        }
    }
}
