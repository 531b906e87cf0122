// SPDX-FileCopyrightText: overssh.swarm contributors
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A line between two network namespaces, in user space, as the kernels of test machines may lack netem: a tun device
// in each, and for each direction a rate, a delay, a queue and losses.
//
//     wan PID_A PID_B SEED
//
// makes the device wan0 in the namespaces of both processes and says "up". Then each line on standard input sets a
// direction (0: from A to B), which is answered by "set":
//
//     DIRECTION MBIT_S DELAY_MS QUEUE_MS LOSS_PERCENT BURST
//
// BURST is how many packets are lost in a row on average (1: each for itself; Gilbert's model). "counts" is answered by
// packets passed, lost and dropped of both directions. It ends with its standard input.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define ROOM (1 << 18)
#define SECOND 1000000000ull

struct packet {
    uint64_t due;
    int length;
    unsigned char *data;
};

struct direction {
    double bytes_per_ns, enters, leaves;  // chances for a packet to begin and to end a burst of losses
    uint64_t delay, queue, free_at;       // in ns; when the line has sent all that waits
    int losing;
    unsigned head, tail;
    unsigned long passed, lost, dropped;
    struct packet waiting[ROOM];
};

static struct direction directions[2];

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void give_up(const char *what)
{
    perror(what);
    exit(1);
}

static int open_device(const char *pid)
{
    char path[64];
    struct ifreq request;
    int space, device;

    snprintf(path, sizeof path, "/proc/%s/ns/net", pid);
    space = open(path, O_RDONLY | O_CLOEXEC);
    if (space < 0 || setns(space, CLONE_NEWNET))
        give_up(path);
    close(space);
    device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (device < 0)
        give_up("/dev/net/tun");
    memset(&request, 0, sizeof request);
    strcpy(request.ifr_name, "wan0");
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    if (ioctl(device, TUNSETIFF, &request))
        give_up("wan0");
    return device;
}

static void set(struct direction *line, double mbit, double delay, double queue, double loss, double burst)
{
    uint64_t t = now();
    double rate = mbit * 1e6 / 8 / SECOND;

    // What waits takes as long as it takes at the new rate.
    if (line->free_at > t && line->bytes_per_ns > 0)
        line->free_at = t + (uint64_t)((line->free_at - t) * line->bytes_per_ns / rate);
    line->bytes_per_ns = rate;
    line->delay = delay * 1e6;
    line->queue = queue * 1e6;
    loss /= 100;
    line->leaves = 1 / burst;
    line->enters = loss < 1 ? loss / (1 - loss) / burst : 1;
}

static int loses(struct direction *line)
{
    if (line->losing ? drand48() < line->leaves : drand48() >= line->enters)
        return line->losing = 0;
    return line->losing = 1;
}

static void take(struct direction *line, int device)
{
    static unsigned char buffer[65536];
    uint64_t t = now(), from;
    int turn, length;
    struct packet *packet;

    for (turn = 0; turn < 64; turn++) {
        length = read(device, buffer, sizeof buffer);
        if (length <= 0)
            return;
        if (loses(line)) {
            line->lost++;
            continue;
        }
        from = line->free_at > t ? line->free_at : t;
        if (from - t > line->queue || line->tail - line->head >= ROOM) {
            line->dropped++;
            continue;
        }
        line->free_at = from + (uint64_t)(length / line->bytes_per_ns);
        packet = &line->waiting[line->tail++ % ROOM];
        packet->due = line->free_at + line->delay;
        packet->length = length;
        packet->data = malloc(length);
        memcpy(packet->data, buffer, length);
    }
}

// Hands over what is due, in order, and says when the next one is.
static uint64_t give(struct direction *line, int device, uint64_t next)
{
    uint64_t t = now();

    while (line->head != line->tail) {
        struct packet *packet = &line->waiting[line->head % ROOM];
        if (packet->due > t)
            return packet->due < next ? packet->due : next;
        if (write(device, packet->data, packet->length) == packet->length)
            line->passed++;
        free(packet->data);
        line->head++;
    }
    return next;
}

// One line of orders; 0 where there is none any more.
static int obey(void)
{
    char order[256];
    double mbit, delay, queue, loss, burst;
    int which;

    if (!fgets(order, sizeof order, stdin))
        return 0;
    if (!strcmp(order, "counts\n")) {
        for (which = 0; which < 2; which++)
            printf("%lu %lu %lu%c", directions[which].passed, directions[which].lost, directions[which].dropped,
                   which ? '\n' : ' ');
        return 1;
    }
    if (sscanf(order, "%d %lf %lf %lf %lf %lf", &which, &mbit, &delay, &queue, &loss, &burst) != 6 || which < 0 ||
        which > 1 || mbit <= 0 || burst < 1) {
        printf("no order: %s", order);
        return 1;
    }
    set(&directions[which], mbit, delay, queue, loss, burst);
    puts("set");
    return 1;
}

int main(int count, char **words)
{
    int device[2], which;

    if (count != 4)
        return 2;
    for (which = 0; which < 2; which++) {
        device[which] = open_device(words[1 + which]);
        set(&directions[which], 1000, 0, 100, 0, 1);
    }
    srand48(atol(words[3]));
    prctl(PR_SET_TIMERSLACK, 1);
    setvbuf(stdin, NULL, _IONBF, 0);
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("up");
    for (;;) {
        uint64_t next = now() + SECOND, t;
        struct pollfd ready[3] = {{device[0], POLLIN, 0}, {device[1], POLLIN, 0}, {0, POLLIN, 0}};
        struct timespec pause;

        for (which = 0; which < 2; which++)
            next = give(&directions[which], device[1 - which], next);
        t = now();
        pause.tv_sec = next > t ? (next - t) / SECOND : 0;
        pause.tv_nsec = next > t ? (next - t) % SECOND : 0;
        if (ppoll(ready, 3, &pause, NULL) <= 0)
            continue;
        for (which = 0; which < 2; which++)
            if (ready[which].revents & POLLIN)
                take(&directions[which], device[which]);
        if (ready[2].revents && !obey())
            return 0;
    }
}
