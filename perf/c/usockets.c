// uSockets, without TLS: what a socket does not take at once waits in a buffer of its own.
#include "common.h"
#include <libusockets.h>

struct conn {
    struct buffer queue, rest;
    size_t sent, member;
};

static bool broadcast;
static struct buffer block;
static struct us_socket_t **members;
static size_t count, cap;

static void nothing(struct us_loop_t *loop) {
    (void)loop;
}

static struct conn *of(struct us_socket_t *s) {
    return us_socket_ext(0, s);
}

static void put(struct us_socket_t *s, const char *data, size_t len) {
    struct conn *c = of(s);
    size_t sent = 0;
    if (!c->queue.len)
        sent = (size_t)us_socket_write(0, s, data, (int)len, 0);
    if (sent < len)
        append(&c->queue, data + sent, len - sent);
}

static struct us_socket_t *on_open(struct us_socket_t *s, int is_client, char *ip, int ip_len) {
    (void)is_client;
    (void)ip;
    (void)ip_len;
    memset(of(s), 0, sizeof(struct conn));
    if (count == cap) {
        cap = cap ? cap * 2 : 64;
        members = realloc(members, cap * sizeof *members);
        if (!members)
            die("realloc");
    }
    of(s)->member = count;
    members[count++] = s;
    return s;
}

static struct us_socket_t *on_close(struct us_socket_t *s, int code, void *reason) {
    struct us_socket_t *last = members[--count];
    (void)code;
    (void)reason;
    members[of(s)->member] = last;
    of(last)->member = of(s)->member;
    give_back(&of(s)->queue);
    give_back(&of(s)->rest);
    return s;
}

static struct us_socket_t *on_end(struct us_socket_t *s) {
    return us_socket_close(0, s, 0, NULL);
}

static struct us_socket_t *on_data(struct us_socket_t *s, char *data, int len) {
    if (broadcast)
        complete(&of(s)->rest, data, (size_t)len, &block);
    else
        put(s, data, (size_t)len);
    return s;
}

static struct us_socket_t *on_writable(struct us_socket_t *s) {
    struct conn *c = of(s);
    size_t left = c->queue.len - c->sent;
    if (left)
        c->sent += (size_t)us_socket_write(0, s, c->queue.at + c->sent, (int)left, 0);
    if (c->queue.len && c->sent == c->queue.len) {
        give_back(&c->queue);
        c->sent = 0;
    }
    return s;
}

// After each batch of events.
static void on_post(struct us_loop_t *loop) {
    (void)loop;
    for (size_t i = 0; block.len && i < count; i++)
        put(members[i], block.at, block.len);
    block.len = 0;
}

int main(int argc, char **argv) {
    broadcast = start(argc, argv);
    struct us_loop_t *loop = us_create_loop(NULL, nothing, nothing, on_post, 0);
    struct us_socket_context_options_t options = {0};
    struct us_socket_context_t *context = us_create_socket_context(0, loop, 0, options);
    us_socket_context_on_open(0, context, on_open);
    us_socket_context_on_close(0, context, on_close);
    us_socket_context_on_end(0, context, on_end);
    us_socket_context_on_data(0, context, on_data);
    us_socket_context_on_writable(0, context, on_writable);
    us_socket_context_on_timeout(0, context, on_end);
    struct us_listen_socket_t *listener = us_socket_context_listen(
        0, context, "127.0.0.1", 0, LIBUS_LISTEN_DEFAULT, sizeof(struct conn));
    if (!listener)
        die("us_socket_context_listen");
    printf("127.0.0.1:%d\n", us_socket_local_port(0, (struct us_socket_t *)listener));
    fflush(stdout);
    us_loop_run(loop);
}
