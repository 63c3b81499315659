/*
 * loadgen.h: the parts of the load generator: options, precomputed frames and answer patterns, statistics,
 * connections, and the run that ties them together. Nothing outside tests/bench includes this.
 */
#ifndef BEAMGATE_LOADGEN_H
#define BEAMGATE_LOADGEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum mode {
    MODE_REQUEST,   /* join, then requests: each answered by a push and a reply */
    MODE_ECHO,      /* no channel: a text message that must come back as it went (the ceiling) */
    MODE_HEARTBEAT, /* no channel: heartbeats, the gateway's cheapest answer */
    MODE_IDLE,      /* join and sit: memory per connection */
    MODE_JOIN,      /* connect, upgrade, join, drop, again: the cost of a connection */
    MODE_START      /* spawn a gateway, measure until its first right answer */
};

enum { MAX_PROCS = 4, MAX_EXPECT = 8, ID_DIGITS = 8 };

struct proc_target {
    char name[24];
    pid_t pid;
};

struct options {
    const char *host;
    const char *path; /* %d: index of the connection */
    const char *topic;
    const char *event;
    const char *service;
    const char *payload; /* "echo", "list_users", or JSON with $ID where the request's number goes */
    const char *label;
    unsigned port;
    unsigned connections;
    unsigned inflight;
    unsigned sources; /* 0: one source address; n: 127.0.0.2 and the n - 1 after it, in turn */
    unsigned setup_seconds;
    double seconds;
    double warmup;
    enum mode mode;
    bool json;
    const char *expect[MAX_EXPECT]; /* texts that the first answer must hold, $ID allowed */
    unsigned expect_count;
    struct proc_target procs[MAX_PROCS];
    unsigned procs_count;
    char **command; /* MODE_START: argv of the gateway */
};

/* Fills o from argv. Returns 0, or -1 with the reason printed. --help prints and exits. */
int options_parse(struct options *o, int argc, char **argv);
const char *mode_name(enum mode m);

/* --- frames --- */

enum { MAX_HOLES = 6, MAX_PATTERN = 65536 };

/* A masked client frame whose holes take the eight digits of a request number. */
struct template {
    uint8_t *bytes;
    size_t len;
    size_t body; /* where the payload begins: masking counts from there */
    size_t hole[MAX_HOLES];
    unsigned holes;
    uint8_t mask[4];
};

/* One text of a server, likewise with holes. Learned from the first answer that passes the checks, after which every
 * other answer must equal it byte for byte. */
struct pattern {
    char text[MAX_PATTERN];
    size_t len;
    size_t hole[MAX_HOLES];
    unsigned holes;
    bool known;
};

/* Builds the frame of text, each "$ID" in it a hole. Returns 0, or -1 when it has too many holes or memory ran out. */
int template_make(struct template *t, const char *text);
/* Writes the frame for number n to dst (t->len bytes). */
void template_put(const struct template *t, uint32_t n, uint8_t *dst);
/* Takes text as the pattern; every run of n's digits becomes a hole. False when it is too long or has no hole. */
bool pattern_learn(struct pattern *p, const char *text, size_t len, uint32_t n);
/* The number in the holes, or -1 when text is anything but the pattern. */
int64_t pattern_match(const struct pattern *p, const char *text, size_t len);
/* The first run of ID_DIGITS digits after marker, or -1. */
int64_t find_number(const char *text, size_t len, const char *marker);
/* True when text holds part, its "$ID" read as the digits of n. */
bool text_has(const char *text, size_t len, const char *part, uint32_t n);

/* --- statistics --- */

enum { HISTOGRAM_SUB_BITS = 6, HISTOGRAM_BUCKETS = 2560 };

/* Counts by value in buckets of constant relative width (1.6 %). */
struct histogram {
    uint64_t count;
    uint64_t max;
    uint64_t bucket[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t value);
/* The value that a share q (0..1) of the samples do not exceed. */
uint64_t histogram_quantile(const struct histogram *h, double q);

struct proc_sample {
    uint64_t cpu_ns;   /* run time of all threads, from schedstat */
    uint64_t user_ms;  /* from stat, in steps of a clock tick: for the user/system split only */
    uint64_t system_ms;
    uint64_t rss_kb;
    bool ok;
};

void proc_sample(pid_t pid, struct proc_sample *s);
/* What all CPUs together have worked since the machine started. */
uint64_t machine_busy_ms(void);
uint64_t now_ns(void);

/* --- connections --- */

enum { RBUF_SIZE = 1 << 20, SBUF_SIZE = 1 << 18 };

enum conn_state { CONN_NEW, CONN_CONNECTING, CONN_UPGRADING, CONN_JOINING, CONN_READY, CONN_DEAD };
enum slot_state { SLOT_FREE, SLOT_WAIT_PUSH, SLOT_WAIT_REPLY };

/* One outstanding request. Its number is slot index + k * inflight, so an answer leads back here. */
struct slot {
    uint64_t sent_ns;
    uint32_t number;
    enum slot_state state;
};

struct conn {
    int fd;
    uint32_t index;
    enum conn_state state;
    uint64_t begun_ns;
    uint8_t *rest; /* an incomplete frame, until its remainder comes */
    size_t rest_len;
    size_t rest_cap;
    uint8_t *unsent; /* what the kernel would not take yet */
    size_t unsent_len;
    struct slot *slots;
};

struct counters {
    uint64_t completed;
    uint64_t wrong;  /* answers that are not what they must be */
    uint64_t closed; /* connections lost or refused */
};

struct run {
    struct options opt;
    int epoll_fd;
    struct conn *conns;
    struct slot *slots;
    unsigned next;       /* first connection that was not opened yet */
    unsigned connecting; /* opened and not ready */
    unsigned ready;
    bool stop;
    bool sending; /* requests may go out */
    struct template join;
    struct template request;
    struct pattern push;
    struct pattern reply;
    char request_type[64];
    uint8_t *rbuf;
    uint8_t *sbuf;
    size_t sbuf_len;
    struct histogram latency;
    struct counters count;
    uint64_t first_connect_ns; /* MODE_START */
    uint64_t first_join_ns;
    char first_error[512];
};

/* Opens connection c: a non-blocking connect; what follows comes by conn_event(). */
void conn_open(struct run *r, struct conn *c);
/* What epoll reported for c. */
void conn_event(struct run *r, struct conn *c, uint32_t events);
/* Puts all requests of a ready connection on their way. */
void conn_start(struct run *r, struct conn *c);
void conn_close(struct run *r, struct conn *c);

/* Judges one text message for a ready connection (answers.c); false when the connection must not go on. */
bool answer_take(struct run *r, struct conn *c, const char *text, size_t len);
/* True when text accepts the join. */
bool answer_join_ok(const struct run *r, const char *text, size_t len);
/* Prepares the frames that this run sends and expects. */
int answers_prepare(struct run *r);
/* Queues the request of slot s in the send buffer. */
void conn_send_request(struct run *r, struct conn *c, struct slot *s);
/* Notes the first thing that went wrong, for the report. */
void run_error(struct run *r, const char *what, const char *text, size_t len);

#endif
