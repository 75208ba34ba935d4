// The baseline: an epoll loop as one writes it by hand when nothing but speed counts.
//
// Edge-triggered, each socket registered once for both directions; one receive buffer for all; a
// write at once, and a queue only for what the socket does not take; a short read ends the
// reading. Broadcast lines are collected for a whole batch of events and sent to each member
// with one call.
//
// With PAIR it is two such loops, each a thread with a socket of its own at the same port
// (SO_REUSEPORT); lines go to the other loop through a pair of sockets.
#include "common.h"
#include <sys/epoll.h>

#define RECEIVE (256 * 1024)
#define EVENTS 512

#ifdef PAIR
#include <pthread.h>
#define LOCAL _Thread_local
#else
#define LOCAL
#endif

struct conn {
    int fd;
    bool readable; // an edge came, and no read has shown since that nothing is left
    bool ending;   // the peer has finished: a short read proves nothing
    uint32_t member;
    size_t sent;
    struct buffer queue, rest;
};

static bool broadcast;
static LOCAL int poll_fd;
static LOCAL char input[RECEIVE];
static LOCAL struct buffer block;
static LOCAL struct conn **members;
static LOCAL size_t member_count, member_cap;
#ifdef PAIR
static LOCAL struct conn *other; // the other loop
static LOCAL struct buffer incoming; // its lines
#endif

// How much the socket takes, or -1 if it is broken.
static ssize_t put(int fd, const char *data, size_t len) {
    size_t sent = 0;
    while (sent < len) {
        ssize_t n = send(fd, data + sent, len - sent, MSG_NOSIGNAL);
        if (n >= 0)
            sent += (size_t)n;
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            return -1;
    }
    return (ssize_t)sent;
}

static bool send_to(struct conn *c, const char *data, size_t len) {
    ssize_t sent = 0;
    if (!c->queue.len && (sent = put(c->fd, data, len)) < 0)
        return false;
    if ((size_t)sent < len)
        append(&c->queue, data + sent, len - (size_t)sent);
    return true;
}

static bool flush(struct conn *c) {
    ssize_t sent = put(c->fd, c->queue.at + c->sent, c->queue.len - c->sent);
    if (sent < 0)
        return false;
    c->sent += (size_t)sent;
    if (c->sent == c->queue.len) {
        give_back(&c->queue);
        c->sent = 0;
    }
    return true;
}

static void end(struct conn *c) {
    struct conn *last = members[--member_count];
    members[c->member] = last;
    last->member = c->member;
    close(c->fd);
    give_back(&c->queue);
    give_back(&c->rest);
    free(c);
}

static bool work(struct conn *c, uint32_t events) {
    uint32_t ending = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
    c->readable |= !!(events & (EPOLLIN | ending));
    c->ending |= !!(events & ending);
    if ((events & EPOLLOUT) && c->queue.len && !flush(c))
        return false;
    // Who does not read his echo is not read from.
    while (c->readable && (broadcast || !c->queue.len)) {
        ssize_t n = recv(c->fd, input, sizeof input, 0);
        if (n == 0)
            return false;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n < 0 || ((size_t)n < sizeof input && !c->ending))
            c->readable = false;
        if (n < 0)
            break;
#ifdef PAIR
        if (c == other)
            complete(&c->rest, input, (size_t)n, &incoming);
        else
#endif
        if (broadcast)
            complete(&c->rest, input, (size_t)n, &block);
        else if (!send_to(c, input, (size_t)n))
            return false;
    }
    return true;
}

static void accept_all(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = calloc(1, sizeof *c);
        struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
        if (!c)
            die("calloc");
        if (member_count == member_cap) {
            member_cap = member_cap ? member_cap * 2 : 64;
            members = realloc(members, member_cap * sizeof *members);
            if (!members)
                die("realloc");
        }
        c->fd = fd;
        c->member = (uint32_t)member_count;
        members[member_count++] = c;
        e.data.ptr = c;
        if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &e))
            die("epoll_ctl");
    }
}

// From the last member to the first, for the last one takes the place of one that ends.
static void send_block(void) {
    for (size_t i = member_count; i-- > 0;)
        if (!send_to(members[i], block.at, block.len))
            end(members[i]);
    block.len = 0;
}

static void run(int listener) {
    struct epoll_event events[EVENTS], e = {.events = EPOLLIN | EPOLLET};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &e))
        die("epoll");
    for (;;) {
        int n = epoll_wait(poll_fd, events, EVENTS, -1);
        bool new = false;
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c)
                new = true;
            else if (!work(c, events[i].events))
                end(c);
        }
#ifdef PAIR
        if (block.len && !send_to(other, block.at, block.len))
            die("the other loop");
        if (incoming.len)
            append(&block, incoming.at, incoming.len);
        incoming.len = 0;
#endif
        if (block.len)
            send_block();
        if (new)
            accept_all(listener);
    }
}

static void begin(void) {
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (poll_fd < 0)
        die("epoll");
}

#ifdef PAIR
struct loop {
    int listener, other;
};

static void *run_one(void *at) {
    struct loop *loop = at;
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET};
    begin();
    other = calloc(1, sizeof *other);
    if (!other)
        die("calloc");
    other->fd = loop->other;
    e.data.ptr = other;
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, other->fd, &e))
        die("epoll_ctl");
    run(loop->listener);
    return NULL;
}

int main(int argc, char **argv) {
    int ends[2], port = 0;
    struct loop loops[2];
    pthread_t second;
    broadcast = start(argc, argv);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends))
        die("socketpair");
    for (int i = 0; i < 2; i++) {
        loops[i].listener = listen_at(&port, true);
        loops[i].other = ends[i];
    }
    say_where(port);
    if (pthread_create(&second, NULL, run_one, &loops[1]))
        die("pthread_create");
    run_one(&loops[0]);
}
#else
int main(int argc, char **argv) {
    broadcast = start(argc, argv);
    begin();
    run(listen_somewhere());
}
#endif
