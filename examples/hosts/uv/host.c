/* libuv. The library is examples/hosts/c. A panic in a callback ends the process. */
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

typedef struct guest guest;
guest *net_new(const char *act);
int net_fd(const guest *);
int net_turn(guest *);
void net_outside(guest *);
void net_free(guest *);

/* The glue. */
static void on_readable(uv_poll_t *poll, int status, int events) {
    (void)status, (void)events;
    if (net_turn(poll->data) != 0)
        uv_stop(poll->loop);
}

static void on_tick(uv_timer_t *timer) { net_outside(timer->data); }

static void host(guest *net) {
    uv_loop_t *loop = uv_default_loop();
    uv_poll_t poll = {.data = net};
    uv_timer_t ticks = {.data = net};
    uv_poll_init(loop, &poll, net_fd(net));
    uv_poll_start(&poll, UV_READABLE, on_readable);
    uv_timer_init(loop, &ticks);
    uv_timer_start(&ticks, on_tick, 5, 5);
    uv_run(loop, UV_RUN_DEFAULT);
    uv_poll_stop(&poll); /* before the descriptor is closed */
}
/* End of the glue. */

int main(int argc, char **argv) {
    guest *net = net_new(argv[argc - 1]);
    if (net == NULL)
        return EXIT_FAILURE;
    host(net);
    net_free(net);
    return EXIT_SUCCESS;
}
