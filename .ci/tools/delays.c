/* delays.c: imitates a busy machine. It sleeps before and after random calls of the C library, and at the start and end of
 * threads and children. Preloaded by delays.sh. Settings, with their defaults:
 *
 *   DELAYS_SEED   seed of the random numbers (1)
 *   DELAYS_ODDS   one call in this many is delayed before the call, and one after it (200)
 *   DELAYS_US     a delay is shorter than this many microseconds (1000); one in sixteen is ten times as long
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static uint64_t seed = 1, odds = 200, most = 1000;
static unsigned threads;
static __thread uint64_t state;

static uint64_t setting(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    uint64_t value = text ? strtoull(text, NULL, 10) : 0;
    return value ? value : otherwise;
}

__attribute__((constructor)) static void begin(void) {
    seed = setting("DELAYS_SEED", seed);
    odds = setting("DELAYS_ODDS", odds);
    most = setting("DELAYS_US", most);
}

/* xorshift, with its own state in each thread. */
static uint64_t draw(void) {
    if (!state)
        state = (seed * 0x9E3779B97F4A7C15u ^ __sync_add_and_fetch(&threads, 1) * 0xD1342543DE82EF95u) | 1;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void delay(uint64_t one_in) {
    uint64_t drawn = draw();
    if ((drawn >> 33) % one_in)
        return;
    uint64_t us = (drawn & 0xffff) % most * ((drawn >> 16 & 15) ? 1 : 10);
    struct timespec length = {us / 1000000, us % 1000000 * 1000};
    int before = errno;
    nanosleep(&length, NULL);
    errno = before;
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);

#define DELAYED(result, name, parameters, arguments) \
    result name parameters { \
        REAL(name) \
        delay(odds); \
        result returned = real arguments; \
        delay(odds); \
        return returned; \
    }

DELAYED(ssize_t, read, (int fd, void *to, size_t size), (fd, to, size))
DELAYED(ssize_t, write, (int fd, const void *from, size_t size), (fd, from, size))
DELAYED(ssize_t, readv, (int fd, const struct iovec *to, int count), (fd, to, count))
DELAYED(ssize_t, writev, (int fd, const struct iovec *from, int count), (fd, from, count))
DELAYED(ssize_t, recv, (int fd, void *to, size_t size, int flags), (fd, to, size, flags))
DELAYED(ssize_t, send, (int fd, const void *from, size_t size, int flags), (fd, from, size, flags))
DELAYED(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
DELAYED(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
DELAYED(int, connect, (int fd, const struct sockaddr *to, socklen_t size), (fd, to, size))
DELAYED(int, accept4, (int fd, struct sockaddr *from, socklen_t *size, int flags), (fd, from, size, flags))
DELAYED(int, shutdown, (int fd, int how), (fd, how))
DELAYED(int, close, (int fd), (fd))
DELAYED(int, epoll_ctl, (int fd, int what, int of, struct epoll_event *event), (fd, what, of, event))
DELAYED(int, epoll_wait, (int fd, struct epoll_event *events, int most, int ms), (fd, events, most, ms))
DELAYED(int, poll, (struct pollfd *fds, nfds_t count, int ms), (fds, count, ms))
DELAYED(int, ppoll, (struct pollfd *fds, nfds_t count, const struct timespec *time, const sigset_t *mask),
        (fds, count, time, mask))
DELAYED(int, pthread_kill, (pthread_t thread, int signal), (thread, signal))

long syscall(long number, ...) {
    REAL(syscall)
    va_list list;
    va_start(list, number);
    long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long);
    long d = va_arg(list, long), e = va_arg(list, long), f = va_arg(list, long);
    va_end(list);
    delay(odds);
    long returned = real(number, a, b, c, d, e, f);
    delay(odds);
    return returned;
}

struct start {
    void *(*function)(void *);
    void *argument;
};

static void *started(void *boxed) {
    struct start start = *(struct start *)boxed;
    free(boxed);
    delay(2);
    return start.function(start.argument);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*function)(void *), void *argument) {
    REAL(pthread_create)
    struct start *start = malloc(sizeof *start);
    if (!start)
        return EAGAIN;
    *start = (struct start){function, argument};
    int error = real(thread, how, started, start);
    if (error)
        free(start);
    delay(2);
    return error;
}

pid_t fork(void) {
    REAL(fork)
    delay(2);
    pid_t child = real();
    if (child == 0)
        state = 0;
    delay(2);
    return child;
}

__attribute__((noreturn)) void _exit(int code) {
    REAL(_exit)
    delay(1);
    real(code);
    __builtin_unreachable();
}
