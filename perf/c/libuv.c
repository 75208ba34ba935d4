// libuv: a write at once with uv_try_write, and uv_write for what the socket does not take.
#include "common.h"
#include <uv.h>

#define RECEIVE (64 * 1024)
#define HIGH (1024 * 1024)

struct conn {
    uv_tcp_t tcp;
    size_t member;
    bool paused, closing;
    struct buffer rest;
};

// A write that waits, with its bytes.
struct waiting {
    uv_write_t request;
    char data[];
};

static bool broadcast;
static char input[RECEIVE];
static struct buffer block;
static struct conn **members;
static size_t count, cap;

static void start_reading(struct conn *c);

static void on_closed(uv_handle_t *h) {
    struct conn *c = (struct conn *)h;
    give_back(&c->rest);
    free(c);
}

static void end(struct conn *c) {
    if (c->closing)
        return;
    c->closing = true;
    members[c->member] = members[--count];
    members[c->member]->member = c->member;
    uv_close((uv_handle_t *)c, on_closed);
}

static void on_written(uv_write_t *request, int status) {
    struct conn *c = (struct conn *)request->handle;
    free(request);
    if (status < 0)
        end(c);
    else if (c->paused && !c->closing && !uv_stream_get_write_queue_size((uv_stream_t *)c)) {
        c->paused = false;
        start_reading(c);
    }
}

static void send_to(struct conn *c, char *data, size_t len) {
    uv_stream_t *stream = (uv_stream_t *)c;
    if (!uv_stream_get_write_queue_size(stream)) {
        uv_buf_t all = uv_buf_init(data, (unsigned)len);
        int n = uv_try_write(stream, &all, 1);
        if (n < 0 && n != UV_EAGAIN) {
            end(c);
            return;
        }
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
        if (!len)
            return;
    }
    struct waiting *w = malloc(sizeof *w + len);
    if (!w)
        die("malloc");
    memcpy(w->data, data, len);
    uv_buf_t rest = uv_buf_init(w->data, (unsigned)len);
    if (uv_write(&w->request, stream, &rest, 1, on_written)) {
        free(w);
        end(c);
    }
}

static void on_room(uv_handle_t *h, size_t suggested, uv_buf_t *buf) {
    (void)h;
    (void)suggested;
    *buf = uv_buf_init(input, sizeof input);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    struct conn *c = (struct conn *)stream;
    if (n < 0) {
        end(c);
        return;
    }
    if (n == 0)
        return;
    if (!broadcast) {
        send_to(c, buf->base, (size_t)n);
        // Who does not read his echo is not read from.
        if (uv_stream_get_write_queue_size(stream) > HIGH) {
            c->paused = true;
            uv_read_stop(stream);
        }
        return;
    }
    complete(&c->rest, buf->base, (size_t)n, &block);
    if (!block.len)
        return;
    for (size_t i = count; i-- > 0;)
        send_to(members[i], block.at, block.len);
    block.len = 0;
}

static void start_reading(struct conn *c) {
    if (uv_read_start((uv_stream_t *)c, on_room, on_read))
        end(c);
}

static void on_accept(uv_stream_t *listener, int status) {
    struct conn *c = calloc(1, sizeof *c);
    if (status < 0 || !c || uv_tcp_init(listener->loop, &c->tcp))
        die("accept");
    if (count == cap) {
        cap = cap ? cap * 2 : 64;
        members = realloc(members, cap * sizeof *members);
        if (!members)
            die("realloc");
    }
    c->member = count;
    members[count++] = c;
    if (uv_accept(listener, (uv_stream_t *)c))
        end(c);
    else
        start_reading(c);
}

int main(int argc, char **argv) {
    broadcast = start(argc, argv);
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    if (uv_tcp_init(loop, &listener) || uv_tcp_open(&listener, listen_somewhere()) ||
        uv_listen((uv_stream_t *)&listener, 4096, on_accept))
        die("libuv");
    return uv_run(loop, UV_RUN_DEFAULT);
}
