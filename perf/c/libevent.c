// libevent's bufferevents.
#include "common.h"
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#define READ_SIZE (64 * 1024)
#define HIGH (1024 * 1024)

static bool broadcast;
static struct event_base *base;
static struct bufferevent **members;
static size_t count, cap;

static void on_end(struct bufferevent *b, short events, void *arg) {
    (void)events;
    (void)arg;
    for (size_t i = 0; broadcast && i < count; i++)
        if (members[i] == b) {
            members[i] = members[--count];
            break;
        }
    bufferevent_free(b);
}

static void on_echo(struct bufferevent *b, void *arg) {
    struct evbuffer *out = bufferevent_get_output(b);
    (void)arg;
    evbuffer_add_buffer(out, bufferevent_get_input(b));
    // Who does not read his echo is not read from.
    if (evbuffer_get_length(out) > HIGH)
        bufferevent_disable(b, EV_READ);
}

// Called when the output is empty.
static void on_drain(struct bufferevent *b, void *arg) {
    (void)arg;
    if (!(bufferevent_get_enabled(b) & EV_READ)) {
        bufferevent_enable(b, EV_READ);
        if (evbuffer_get_length(bufferevent_get_input(b)))
            on_echo(b, NULL);
    }
}

static void on_lines(struct bufferevent *b, void *arg) {
    struct evbuffer *in = bufferevent_get_input(b);
    size_t len = evbuffer_get_length(in);
    char *data = (char *)evbuffer_pullup(in, -1);
    char *last = data ? memrchr(data, '\n', len) : NULL;
    (void)arg;
    if (!last)
        return;
    size_t lines = (size_t)(last - data) + 1;
    for (size_t i = 0; i < count; i++)
        bufferevent_write(members[i], data, lines);
    evbuffer_drain(in, lines);
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *peer,
                      int len, void *arg) {
    struct bufferevent *b = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    (void)l;
    (void)peer;
    (void)len;
    (void)arg;
    if (!b)
        die("bufferevent_socket_new");
    bufferevent_set_max_single_read(b, READ_SIZE);
    bufferevent_set_max_single_write(b, HIGH);
    if (broadcast)
        bufferevent_setcb(b, on_lines, NULL, on_end, NULL);
    else
        bufferevent_setcb(b, on_echo, on_drain, on_end, NULL);
    bufferevent_enable(b, EV_READ | EV_WRITE);
    if (!broadcast)
        return;
    if (count == cap) {
        cap = cap ? cap * 2 : 64;
        members = realloc(members, cap * sizeof *members);
        if (!members)
            die("realloc");
    }
    members[count++] = b;
}

int main(int argc, char **argv) {
    broadcast = start(argc, argv);
    struct event_config *config = event_config_new();
    base = event_base_new_with_config(config);
    int fd = listen_somewhere();
    unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC;
    // A backlog of 0: the socket listens already.
    if (!base || !evconnlistener_new(base, on_accept, NULL, flags, 0, fd))
        die("libevent");
    return event_base_dispatch(base);
}
