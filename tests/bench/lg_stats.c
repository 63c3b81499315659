/*
 * lg_stats.c: what the load generator knows about time: a latency histogram, and the CPU time and memory of
 * other processes.
 *
 * CPU time is the sum of the run times of all threads in /proc/PID/task/<tid>/schedstat, which the kernel keeps in
 * nanoseconds; utime and stime of /proc/PID/stat come in ticks of 10 ms and serve only to split user from system.
 * A thread that ends inside the measured window takes its time with it; neither the gateway nor a BEAM ends threads
 * while it serves.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "loadgen.h"

uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Values below 2^6 have a bucket each; above, every power of two is cut into 2^6 buckets. */
static unsigned bucket_of(uint64_t v)
{
    if (v < 1u << HISTOGRAM_SUB_BITS)
        return (unsigned)v;
    unsigned shift = 63 - (unsigned)__builtin_clzll(v) - HISTOGRAM_SUB_BITS;
    unsigned b = (shift << HISTOGRAM_SUB_BITS) + (unsigned)(v >> shift);
    return b < HISTOGRAM_BUCKETS ? b : HISTOGRAM_BUCKETS - 1;
}

/* The largest value that falls into bucket b. */
static uint64_t bucket_top(unsigned b)
{
    if (b < 2u << HISTOGRAM_SUB_BITS)
        return b;
    unsigned shift = (b >> HISTOGRAM_SUB_BITS) - 1;
    uint64_t sub = b - (shift << HISTOGRAM_SUB_BITS);
    return ((sub + 1) << shift) - 1;
}

void histogram_add(struct histogram *h, uint64_t value)
{
    h->count++;
    h->bucket[bucket_of(value)]++;
    if (value > h->max)
        h->max = value;
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
    uint64_t want = (uint64_t)(q * (double)h->count), seen = 0;
    for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
        seen += h->bucket[b];
        if (seen > want) {
            uint64_t top = bucket_top(b);
            return top < h->max ? top : h->max;
        }
    }
    return h->max;
}

static bool read_file(const char *path, char *dst, size_t size)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    size_t n = fread(dst, 1, size - 1, f);
    fclose(f);
    dst[n] = '\0';
    return n > 0;
}

static bool sum_threads(pid_t pid, uint64_t *cpu_ns)
{
    char path[320], text[128];
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *d = opendir(path);
    if (!d)
        return false;
    *cpu_ns = 0;
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, e->d_name);
        if (read_file(path, text, sizeof(text)))
            *cpu_ns += strtoull(text, NULL, 10);
    }
    closedir(d);
    return true;
}

/* utime and stime are fields 14 and 15 (proc(5)), counted from behind the ")" that ends the command's name. */
static void read_split(pid_t pid, struct proc_sample *s)
{
    char path[64], text[1024];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (!read_file(path, text, sizeof(text)))
        return;
    const char *p = strrchr(text, ')');
    if (p && sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2) {
        uint64_t tick_ms = 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
        s->user_ms = user * tick_ms;
        s->system_ms = system * tick_ms;
    }
}

/* smaps_rollup counts page by page; statm may lag behind by some dozen pages for each CPU. */
static uint64_t read_rss_kb(pid_t pid)
{
    char path[64], text[2048];
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    const char *p = read_file(path, text, sizeof(text)) ? strstr(text, "Rss:") : NULL;
    if (p)
        return strtoull(p + 4, NULL, 10);
    unsigned long pages = 0;
    snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    if (read_file(path, text, sizeof(text)) && sscanf(text, "%*u %lu", &pages) == 1)
        return pages * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
    return 0;
}

void proc_sample(pid_t pid, struct proc_sample *s)
{
    memset(s, 0, sizeof(*s));
    s->ok = sum_threads(pid, &s->cpu_ns);
    read_split(pid, s);
    s->rss_kb = read_rss_kb(pid);
}

/* First line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal, in ticks. */
uint64_t machine_busy_ms(void)
{
    char text[512];
    unsigned long long t[8] = {0};
    if (!read_file("/proc/stat", text, sizeof(text)) ||
        sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6],
               &t[7]) != 8)
        return 0;
    return (t[0] + t[1] + t[2] + t[5] + t[6] + t[7]) * 1000 / (unsigned long long)sysconf(_SC_CLK_TCK);
}
