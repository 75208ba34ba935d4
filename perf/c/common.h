// What the servers in C share: the listener, growing buffers, and lines.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct buffer {
    char *at;
    size_t len, cap;
};

static inline void die(const char *what) {
    perror(what);
    exit(1);
}

static inline void append(struct buffer *b, const char *data, size_t len) {
    if (b->len + len > b->cap) {
        size_t cap = b->cap ? b->cap : 256;
        while (cap < b->len + len)
            cap *= 2;
        b->at = realloc(b->at, cap);
        if (!b->at)
            die("realloc");
        b->cap = cap;
    }
    memcpy(b->at + b->len, data, len);
    b->len += len;
}

static inline void give_back(struct buffer *b) {
    free(b->at);
    memset(b, 0, sizeof *b);
}

// Appends all lines that `data` completes to `out`; what is left stays in `rest`.
static inline void complete(struct buffer *rest, const char *data, size_t len,
                            struct buffer *out) {
    const char *last = memrchr(data, '\n', len);
    size_t end = last ? (size_t)(last - data) + 1 : 0;
    if (end) {
        if (rest->len) {
            append(out, rest->at, rest->len);
            give_back(rest);
        }
        append(out, data, end);
    }
    if (end < len)
        append(rest, data + end, len - end);
}

// Whether to broadcast; and sees to it that this process ends with its parent.
static inline bool start(int argc, char **argv) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    return argc > 1 && !strcmp(argv[1], "broadcast");
}

// Listens on this port, or for 0 on a free one, which it tells; `shared`: beside others.
static inline int listen_at(int *port, bool shared) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)*port)};
    socklen_t len = sizeof addr;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    // Accepted sockets inherit TCP_NODELAY.
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) ||
        (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one)) ||
        bind(fd, (struct sockaddr *)&addr, sizeof addr) || listen(fd, 4096) ||
        getsockname(fd, (struct sockaddr *)&addr, &len))
        die("listen");
    *port = ntohs(addr.sin_port);
    return fd;
}

static inline void say_where(int port) {
    printf("127.0.0.1:%d\n", port);
    fflush(stdout);
}

// Listens on a free port, and prints where.
static inline int listen_somewhere(void) {
    int port = 0, fd = listen_at(&port, false);
    say_where(port);
    return fd;
}
