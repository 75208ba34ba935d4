/* hiredis keeps its hooks in a struct. This turns them into a number: what it wants to be told. */
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stdint.h>
#include <stdlib.h>

enum { READS = 1, WRITES = 2 };

typedef struct {
    redisAsyncContext *redis; /* NULL: hiredis has given it up */
    int wants;
    void *owner;
} shim;

/* Rust's. */
void on_reply(void *owner, uint64_t tag, const char *bytes, size_t count);

static void add_read(void *s) { ((shim *)s)->wants |= READS; }
static void del_read(void *s) { ((shim *)s)->wants &= ~READS; }
static void add_write(void *s) { ((shim *)s)->wants |= WRITES; }
static void del_write(void *s) { ((shim *)s)->wants &= ~WRITES; }
static void cleanup(void *s) {
    ((shim *)s)->wants = 0;
    ((shim *)s)->redis = NULL;
}

shim *shim_connect(const char *path, void *owner) {
    redisAsyncContext *redis = redisAsyncConnectUnix(path);
    if (redis == NULL || redis->err) {
        if (redis != NULL)
            redisAsyncFree(redis);
        return NULL;
    }
    shim *s = calloc(1, sizeof *s);
    s->redis = redis;
    s->owner = owner;
    redis->ev.data = s;
    redis->ev.addRead = add_read;
    redis->ev.delRead = del_read;
    redis->ev.addWrite = add_write;
    redis->ev.delWrite = del_write;
    redis->ev.cleanup = cleanup;
    s->wants = WRITES; /* by which it learns that it is connected */
    return s;
}

int shim_fd(const shim *s) { return s->redis->c.fd; }
int shim_wants(const shim *s) { return s->wants; }

void shim_ready(shim *s, int what) {
    if (s->redis != NULL && (what & READS))
        redisAsyncHandleRead(s->redis);
    if (s->redis != NULL && (what & WRITES))
        redisAsyncHandleWrite(s->redis);
}

typedef struct {
    shim *s;
    uint64_t tag;
} asked;

static void reply_came(redisAsyncContext *redis, void *r, void *data) {
    (void)redis;
    asked *a = data;
    redisReply *reply = r;
    if (reply != NULL)
        on_reply(a->s->owner, a->tag, reply->str, reply->len);
    free(a);
}

void shim_ask(shim *s, uint64_t tag, int count, const char **words, const size_t *lengths) {
    asked *a = malloc(sizeof *a);
    a->s = s;
    a->tag = tag;
    if (s->redis == NULL ||
        redisAsyncCommandArgv(s->redis, reply_came, a, count, words, lengths) != REDIS_OK)
        free(a);
}

void shim_free(shim *s) {
    if (s->redis != NULL)
        redisAsyncFree(s->redis);
    free(s);
}
