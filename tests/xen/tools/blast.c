/* blast ADDRESS PORT BYTES SECONDS [RATE]: UDP datagrams as fast as the kernel takes them, or RATE a second.
 *
 * BYTES is the length of the frame in memory, Ethernet header to the end of the payload (60 is the shortest there is).
 * Prints how many were sent in how many seconds. iperf3 makes a system call and a few clock readings a datagram: under
 * emulation that costs more than what is to be measured. Here a system call carries 64, and the socket's send buffer
 * puts us to sleep when the device is busy. Nobody has to listen at ADDRESS: receivers are counted at their device. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BURST = 64, HEADERS = 14 + 20 + 8, LONGEST = 9000 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int count, char **words)
{
    if (count < 5 || count > 6) {
        fprintf(stderr, "usage: blast ADDRESS PORT BYTES SECONDS [RATE]\n");
        return 2;
    }
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(words[2]))};
    int bytes = atoi(words[3]) - HEADERS;
    double seconds = atof(words[4]), rate = count > 5 ? atof(words[5]) : 0;
    if (inet_pton(AF_INET, words[1], &to.sin_addr) != 1 || bytes < 0 || bytes > LONGEST) {
        fprintf(stderr, "blast: an IPv4 address and a frame of %d to %d bytes, please\n", HEADERS, LONGEST);
        return 2;
    }
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) {
        perror("blast");
        return 1;
    }
    static char payload[LONGEST];
    struct iovec part = {payload, bytes};
    struct mmsghdr burst[BURST];
    memset(burst, 0, sizeof burst);
    for (int i = 0; i < BURST; i++)
        burst[i].msg_hdr = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1};
    double start = now(), at = start;
    unsigned long sent = 0;
    while (at - start < seconds) {
        unsigned wanted = BURST;
        if (rate > 0) {
            double due = (at - start) * rate - sent;
            if (due < 1) {
                nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
                at = now();
                continue;
            }
            wanted = due < BURST ? due : BURST;
        }
        int done = sendmmsg(fd, burst, wanted, 0);
        if (done > 0)
            sent += done;
        else if (errno == ENOBUFS) /* The device's queue is full: sending on would only be counting. */
            nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
        else if (errno != ECONNREFUSED && errno != EINTR) {
            perror("blast");
            return 1;
        }
        at = now();
    }
    printf("%lu %.3f\n", sent, at - start);
    return 0;
}
