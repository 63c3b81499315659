/*
 * ctl_cluster.c: `beamgate ctl cluster`: cluster_view as PhoenixGenApi.Diagnostics gives it, with what the connected
 * nodes say of themselves. The command line waits for them as one who asks by rpc does.
 */
#include "ctl.h"

#include <stdlib.h>

#include "diag.h"

struct ctl_cluster {
    struct ctl_job *job;
    struct cluster_view *view; /* NULL: nothing is waited for */
    struct buf line;
};

static void put_line(struct ctl_cluster *c, struct slice view)
{
    buf_puts(&c->line, "{\"value\":");
    ctl_put_term(view, &c->line);
    buf_puts(&c->line, "}\n");
}

static void on_view(void *owner, struct cluster_view *v, struct slice view)
{
    struct ctl_cluster *c = owner;
    (void)v;
    c->view = NULL;
    if (view.len)
        put_line(c, view);
    ctl_wake(c->job->server->ctl, c->job->self);
}

static void end(struct ctl_job *job)
{
    struct ctl_cluster *c = job->state;
    if (c->view)
        cluster_view_cancel(c->view);
    buf_fini(&c->line);
    free(c);
    job->state = NULL;
}

static void put_known(struct ctl_cluster *c)
{
    struct buf view;
    buf_init(&view, 0);
    diag_put_cluster_view(c->job->server, &view);
    if (buf_ok(&view))
        put_line(c, buf_slice(&view));
    buf_fini(&view);
}

static bool begin(struct ctl_job *job)
{
    struct ctl_cluster *c = calloc(1, sizeof(*c));
    if (!c)
        return false;
    c->job = job;
    buf_init(&c->line, 0);
    job->state = c;
    job->end = end;
    c->view = cluster_view_new(job->server, on_view);
    if (c->view)
        cluster_view_ask(c->view, c);
    else
        put_known(c);
    return true;
}

enum ctl_step ctl_step_cluster(struct ctl_job *job, struct buf *out)
{
    struct ctl_cluster *c = job->state || begin(job) ? job->state : NULL;
    if (c && c->view)
        return CTL_WAIT;
    if (c && buf_ok(&c->line) && c->line.len > 0) {
        buf_add_slice(out, buf_slice(&c->line));
        return CTL_DONE;
    }
    err_set(&job->error, BG_ENOMEM, 0, "no memory for the answer");
    return CTL_FAILED;
}
