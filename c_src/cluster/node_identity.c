/*
 * node_identity.c: the name, cookie and creation of this node, checked once and handed to
 * erl_interface (ei_connect_xinit), whose record serves ei_publish.
 *
 * Invariant: name, alive and host agree, and creation is new at each start: pids and references that
 * an older life of this node gave out never match a handle of this one (D-08).
 * It opens no socket, and the cookie leaves it only as part of an MD5 digest (dist_handshake).
 */
#include "node_identity.h"
#include "slots.h"

#include <ei.h>
#include <stdlib.h>

/* net_kernel allows these in the part before the @ (valid_name_head/1). */
static bool alive_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == '-';
}

/* Node names travel in Latin-1, but a host name beyond ASCII has no address: ASCII is all that can work. */
static bool printable(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < 0x21 || s.ptr[i] > 0x7e)
            return false;
    return s.len > 0;
}

bool node_name_split(struct slice name, struct slice *alive, struct slice *host)
{
    const char *at = name.len && name.len <= NODE_NAME_MAX ? memchr(name.ptr, '@', name.len) : NULL;
    if (!at)
        return false;
    *alive = slice_make(name.ptr, (size_t)(at - name.ptr));
    *host = slice_make(at + 1, name.len - alive->len - 1);
    return printable(*alive) && printable(*host) && !memchr(host->ptr, '@', host->len);
}

static int check_own_name(struct slice name, struct slice *alive, struct slice *host, struct err *e)
{
    if (name.len > NODE_NAME_MAX)
        return err_set(e, BG_EINVAL, 0, "node name is longer than %d bytes", NODE_NAME_MAX);
    if (!node_name_split(name, alive, host))
        return err_set(e, BG_EINVAL, 0, "node name must be of the form name@host");
    for (size_t i = 0; i < alive->len; i++)
        if (!alive_char(alive->ptr[i]))
            return err_set(e, BG_EINVAL, i, "node name may hold only letters, digits, _ and - before the @");
    if (alive->len > EI_MAXALIVELEN || host->len > EI_MAXHOSTNAMELEN)
        return err_set(e, BG_EINVAL, 0, "node name is longer than erl_interface allows");
    return BG_OK;
}

static int check_cookie(struct slice cookie, struct err *e)
{
    if (cookie.len == 0)
        return err_set(e, BG_EINVAL, 0, "the cookie is empty");
    if (cookie.len > NODE_COOKIE_MAX)
        return err_set(e, BG_EINVAL, 0, "the cookie is longer than %d bytes", NODE_COOKIE_MAX);
    if (memchr(cookie.ptr, '\0', cookie.len))
        return err_set(e, BG_EINVAL, 0, "the cookie holds a NUL byte");
    return BG_OK;
}

/* Below 4 libei would add a constant of its own (08 §1.4), and the two would disagree. */
static uint32_t new_creation(void)
{
    uint32_t creation;
    do
        random_bytes(&creation, sizeof(creation));
    while (creation < 4);
    return creation;
}

int node_identity_init(struct node_identity *id, struct slice name, struct slice cookie, struct err *e)
{
    struct slice alive = SLICE_NONE, host = SLICE_NONE;
    *id = (struct node_identity){.flags = DIST_FLAGS_DEFAULT};
    int rc = check_own_name(name, &alive, &host, e);
    if (rc == BG_OK)
        rc = check_cookie(cookie, e);
    if (rc != BG_OK)
        return rc;
    slice_cstr(name, id->name, sizeof(id->name));
    slice_cstr(alive, id->alive, sizeof(id->alive));
    slice_cstr(host, id->host, sizeof(id->host));
    slice_cstr(cookie, id->cookie, sizeof(id->cookie));
    id->creation = new_creation();
    id->long_names = strpbrk(id->host, ".:") != NULL;
    id->ei = calloc(1, sizeof(*id->ei));
    if (!id->ei)
        return err_set(e, BG_ENOMEM, 0, "no memory");
    if (ei_init() != 0 || ei_connect_xinit(id->ei, id->host, id->alive, id->name, NULL, id->cookie, id->creation) < 0) {
        node_identity_fini(id);
        return err_set(e, BG_ESYS, 0, "erl_interface refuses the node name or cookie");
    }
    return BG_OK;
}

void node_identity_fini(struct node_identity *id)
{
    if (id->ei)
        explicit_bzero(id->ei, sizeof(*id->ei));
    free(id->ei);
    explicit_bzero(id, sizeof(*id));
}

void node_put_pid(const struct node_identity *id, struct buf *b, handle_t h)
{
    term_put_pid(b, &(struct term_pid){slice_str(id->name), handle_index(h), handle_generation(h), id->creation});
}

void node_put_ref(const struct node_identity *id, struct buf *b, handle_t h)
{
    struct term_ref ref = {slice_str(id->name), id->creation, 3, {handle_index(h), handle_generation(h), 0}};
    term_put_ref(b, &ref);
}

handle_t node_pid_handle(const struct node_identity *id, const struct term_pid *pid)
{
    if (pid->creation != id->creation || !slice_is(pid->node, id->name))
        return HANDLE_NONE;
    return handle_make(pid->id, pid->serial);
}

handle_t node_ref_handle(const struct node_identity *id, const struct term_ref *ref)
{
    if (ref->creation != id->creation || ref->words != 3 || ref->id[2] != 0 || !slice_is(ref->node, id->name))
        return HANDLE_NONE;
    return handle_make(ref->id[0], ref->id[1]);
}
